"""The one error a user is meant to read."""

from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave is wrong: a file, a key, a row, a checkpoint.

    The message names the thing, its value, what is allowed and what to do next.
    Entry points print it without a traceback and exit with status 2.
    """


def check_choice(key: str, value: object, allowed: Iterable[str]) -> None:
    """Raises InputError when a config key does not hold one of the allowed values."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise InputError(
            f"config.{key}={value!r} is unknown; allowed: {', '.join(allowed)}."
        )
