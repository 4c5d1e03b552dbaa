"""The one error that is written for users to read."""

from collections.abc import Iterable


class InputError(ValueError):
    """The user gave something wrong, such as a file, a key, a row or a checkpoint.

    The message names the thing, its value, what is allowed and what to do next.
    Commands print the message without a traceback and exit with status 2.
    """


def check_choice(key: str, value: object, allowed: Iterable[str]) -> None:
    """Raises InputError if a config key does not hold one of the allowed values."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise InputError(
            f"config.{key}={value!r} is unknown; allowed: {', '.join(allowed)}."
        )
