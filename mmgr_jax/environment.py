"""Reports environment variables with which a command cannot start.

JAX reads its variables while it is imported, before any command begins. XLA ends the
process if it does not know a word in XLA_FLAGS. This module reports both errors in one
sentence, for every command.
"""

from __future__ import annotations

import os
import subprocess
import sys
from types import TracebackType

from mmgr_jax import endings
from mmgr_jax.errors import InputError

_FLAGS = "XLA_FLAGS"
_SCRIPT = "mmgr"
_PACKAGES = ("mmgr_jax", "data_prep", "benchmarks")
_ASK = "from jaxlib import _jax; _jax.CompileOptions()"  # reads the flags


def tell_failing_imports() -> None:
    """Makes an error while one of our commands is loading end with one sentence.

    It changes nothing elsewhere, such as in a notebook that imports the package.
    """
    given = sys.orig_argv
    ours = [name for flag, name in zip(given, given[1:], strict=False) if flag == "-m"]
    is_script = os.path.basename(sys.argv[0] if sys.argv else "") == _SCRIPT
    if is_script or (ours and ours[0].partition(".")[0] in _PACKAGES):
        sys.excepthook = _tell


def refuse_unknown_flags() -> None:
    """Refuses words in XLA_FLAGS that XLA does not know, before XLA ends the process.

    It tests them in another process, for a quarter of a second if the variable is set.

    Raises:
        InputError: If XLA does not know a word; the message quotes XLA.
    """
    given = os.environ.get(_FLAGS)
    if not given:
        return
    asked = subprocess.run(
        [sys.executable, "-c", _ASK], capture_output=True, text=True, check=False
    )
    if asked.returncode and "Traceback" not in asked.stderr:
        line = (asked.stderr.strip().splitlines() or ["not understood"])[0]
        line = (line.partition("] ")[2] or line).rstrip(".")
        raise InputError(
            f"the environment variable {_FLAGS} is {given!r}: {line}. Unset it, or "
            "give flags that this version of XLA knows."
        )


def _tell(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    sentence = endings.sentence(error)
    if isinstance(error, KeyboardInterrupt):
        print("interrupted; nothing was done.", file=sys.stderr)
    elif sentence is None or os.environ.get("MMGR_TRACEBACK"):
        sys.__excepthook__(kind, error, trace)
    if sentence is not None:
        print(f"error: {sentence}", file=sys.stderr)
    sys.exit(endings.status(error))
