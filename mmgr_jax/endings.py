"""How a command ends: its exit status and its message.

Exit status 0: done. 2: an error that a user, a file or the machine caused; the message
is one sentence. 130: interrupted by Ctrl-C. 143: stopped by SIGTERM, after saving what
was done. 1: a fault of this program; the message is its traceback. --verbose, or
MMGR_TRACEBACK=1, shows the traceback of other errors, too.
"""

from __future__ import annotations

import os
import traceback

from mmgr_jax.disk import refusals
from mmgr_jax.errors import InputError
from mmgr_jax.extras import install

FAULT, INPUT, INTERRUPTED = 1, 2, 130

_OPTIONAL = {
    "requests": "fetch", "urllib3": "fetch", "pystac": "fetch",
    "pystac_client": "fetch",
}  # fmt: skip
"""Packages that a command needs while it is loaded -> the extra that brings them."""

_BACKENDS = "jax/_src/xla_bridge.py"
_VARIABLES = "jax/_src/config.py"
_CONFIGS = "ml_collections/config_dict/config_dict.py"


def sentence(error: BaseException) -> str | None:
    """The sentence that explains an error; None if it is a fault of this program."""
    if isinstance(error, InputError):
        return str(error)
    if refusals.is_memory(error):
        return (
            "the memory does not suffice. End other programs, or take a smaller "
            "--config.train.microbatch_size, --config.data.batch_size or "
            "--config.data.cache_mib, or a machine with more, and give the command "
            "again: training goes on from its newest checkpoint. MMGR_TRACEBACK=1 "
            "shows what the program was doing."
        )
    if isinstance(error, ModuleNotFoundError) and error.name:
        if extra := _OPTIONAL.get(error.name.partition(".")[0]):
            return f"the package {error.name} is not installed: {install(extra)}."
    if isinstance(error, OSError):
        place = error.filename2 or error.filename or "a file"
        cause = os.strerror(error.errno) if error.errno else _first_line(error)
        return (
            f"{place}: {cause}. {refusals.remedy(error)}, and give the command again. "
            "MMGR_TRACEBACK=1 shows what the program was doing there."
        )
    if _raised_in(error, _BACKENDS):
        platforms = os.environ.get("JAX_PLATFORMS", "")
        return (
            f"JAX cannot start the devices ({_first_line(error)}). JAX_PLATFORMS is "
            f"{platforms!r}; allowed: what is installed here, such as cpu, or unset."
        )
    if isinstance(error, ValueError) and _raised_in(error, _VARIABLES):
        return (
            f"the environment: {str(error).rstrip('.')}. Unset the variable, or give "
            "it a value that JAX allows."
        )
    if isinstance(error, (AttributeError, KeyError)) and _raised_in(error, _CONFIGS):
        return (
            f"the config lacks a key: {_first_line(error)}. Begin from "
            "`configs.common.base`, which has all of them."
        )
    return None


def status(error: BaseException) -> int:
    """The exit status after an error."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return FAULT if sentence(error) is None else INPUT


def _raised_in(error: BaseException, file: str) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.replace(os.sep, "/").endswith(file)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip("'\"").rstrip(".")[:300]
