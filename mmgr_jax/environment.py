"""What a command is told by environment variables, where it cannot start with them.

JAX reads its variables while it is imported, before any command has begun, and XLA ends
the process where it does not know a word of XLA_FLAGS. Both are told here, for every
command alike, in one sentence.
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
    """Has what fails while one of our commands is loaded end in a sentence.

    Elsewhere, such as in a notebook that imports the package, nothing is changed.
    """
    given = sys.orig_argv
    ours = [name for flag, name in zip(given, given[1:], strict=False) if flag == "-m"]
    is_script = os.path.basename(sys.argv[0] if sys.argv else "") == _SCRIPT
    if is_script or (ours and ours[0].partition(".")[0] in _PACKAGES):
        sys.excepthook = _tell


def refuse_unknown_flags() -> None:
    """Refuses words in XLA_FLAGS that XLA does not know, before it meets them.

    Another process is asked, a quarter of a second where the variable is set.

    Raises:
        InputError: With what XLA says of them.
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
