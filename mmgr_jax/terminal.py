"""Makes text safe for a terminal, a log or a page: no character in it can act."""

from __future__ import annotations

import atexit
import os
import re
import sys
from collections.abc import Sequence
from io import TextIOBase

from mmgr_jax.pulse import Pulse

_ACTING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff]"
)
"""Control characters, marks that turn the direction of writing, halves of characters:
a name that holds them could move the cursor, hide what follows, or be no text at all.
"""


def visible(text: str, keep: str = "") -> str:
    r"""Replaces the invisible characters of a text by their numbers, such as `\x1b`.

    Args:
        text: Any text from a file or a config.
        keep: Characters to leave as they are, such as line ends.
    """
    return _ACTING.sub(lambda match: _shown(match.group(), keep), text)


def _shown(character: str, keep: str) -> str:
    if character in keep:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def duration(seconds: float) -> str:
    """Formats seconds as text, such as "45 s", "3 min 20 s" or "2 h 05 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def columns(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Formats rows as lines with aligned columns.

    Args:
        rows: Cells; all rows have the same number.
        left: How many of the first columns are aligned left; the others are aligned
            right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


class Outlet:
    """Standard output or error, to which writing always succeeds.

    Names from files are written in `visible` form. Characters that the encoding lacks
    are written as their numbers. If a pipe was closed or the disk is full, the output
    ends and the work goes on.
    """

    def __init__(self, stream: TextIOBase | None, pulse: Pulse | None = None) -> None:
        """Takes the stream; None if the process was started without one.

        Args:
            stream: The stream.
            pulse: Shows in the same terminal that silent work goes on.
        """
        self._stream = stream
        self._pulse = pulse or Pulse()
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Writes a text."""
        with self._pulse.interrupted_by(text):
            self._send(visible(text, keep="\n\r\t"))
        return len(text)

    def show_pulse(self) -> None:
        """From now on shows that silent work goes on, if the output is a terminal."""
        if self.isatty():
            self._pulse.start(self._send)

    def _send(self, text: str) -> None:
        if self._stream is not None:
            try:
                self._stream.write(text)
            except OSError as error:
                self._close(error)

    def flush(self) -> None:
        """Sends on the text that was written."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except OSError as error:
                self._close(error)

    def isatty(self) -> bool:
        """Whether the output is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> object:
        if self._stream is None:
            raise AttributeError(name)
        return getattr(self._stream, name)

    def _close(self, error: OSError) -> None:
        """Writes nothing from now on, so that closing the stream cannot fail."""
        stream, self._stream = self._stream, None
        assert stream is not None
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError) and stream is not sys.__stderr__:
            print(
                f"warning: the output cannot be written ({error.strerror}); the work "
                "continues without messages.",
                file=sys.stderr,
            )


def guard_output() -> None:
    """Replaces standard output and error by `Outlet`s, once."""
    if isinstance(sys.stdout, Outlet):
        return
    pulse = Pulse()
    atexit.register(pulse.stop)  # after those of libraries, which come later
    os.register_at_fork(after_in_child=pulse.forget)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Outlet):
            setattr(sys, name, Outlet(stream, pulse))
