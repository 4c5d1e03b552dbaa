"""The one error a user is meant to read."""


class InputError(ValueError):
    """Something the user gave is wrong: a file, a key, a row, a checkpoint.

    The message names the thing, its value, what is allowed and what to do next.
    Entry points print it without a traceback and exit with status 2.
    """
