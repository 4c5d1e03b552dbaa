"""Prints the end of a command that writes files: its figures, and files to open.

The end has at most `MOST_LINES` lines on standard output. With --quiet it consists of
the paths alone, one on each line, for use in a shell; warnings and errors then go to
standard error. A command that writes no file prints its answer with --quiet, too.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmgr_jax.terminal import visible

MOST_LINES = 10

log = logging.getLogger(__name__)


class _Held:
    """Ends that are held back until others are ready."""

    def __init__(self, logged: bool) -> None:
        self.logged, self.figures, self.paths = logged, list[str](), dict[str, str]()


class _Ending:
    """What is known about the end of the command in this process."""

    paths_alone = False
    held: _Held | None = None


def print_paths_alone(alone: bool) -> None:
    """Sets whether ends consist of paths alone from now on, as with --quiet."""
    _Ending.paths_alone = alone


def end(figures: Sequence[str], paths: Mapping[str, str | Path]) -> None:
    """Prints the end of a command, or of a part of it.

    Args:
        figures: Sentences about the results, the most important first. Those that do
            not fit into `MOST_LINES` are counted instead.
        paths: Purpose of a file -> the file or folder that was written.
    """
    named = {what: str(path) for what, path in paths.items()}
    if (held := _Ending.held) is not None:
        if held.logged:
            for what, path in named.items():
                log.info("%s: %s", what, path)
        held.figures += figures
        held.paths |= named
        return
    text = list(named.values()) if _Ending.paths_alone else lines(figures, named)
    if text:
        print("\n".join(map(visible, text)), flush=True)


def lines(figures: Sequence[str], paths: Mapping[str, str]) -> list[str]:
    """The lines of an end, figures before paths; see `end`."""
    named = [f"{what}: {path}" for what, path in paths.items()]
    named = _first(named, MOST_LINES - bool(figures), "files beside these")
    return [*_first(figures, MOST_LINES - len(named), "in the files below"), *named]


def _first(texts: Sequence[str], most: int, where: str) -> Sequence[str]:
    """The first lines; if there are more than allowed, also where the others are."""
    if len(texts) <= most:
        return texts
    return [*texts[: most - 1], f"... and {len(texts) - most + 1} more {where}"]


@contextlib.contextmanager
def together(*, logged: bool = False) -> Iterator[None]:
    """Joins the ends of all commands within it into one, even if the last one fails.

    Args:
        logged: Whether each file is also logged when it is written, because later work
            takes long.
    """
    if _Ending.held is not None:  # a part itself
        yield
        return
    held = _Ending.held = _Held(logged)
    try:
        yield
    finally:
        _Ending.held = None
        end(held.figures, held.paths)


@contextlib.contextmanager
def parts() -> Iterator[None]:
    """Makes the ends within it parts: files are logged, and the whole ends by itself.

    If a part fails, the lines above the error say what was done.
    """
    before, _Ending.held = _Ending.held, _Held(logged=True)
    try:
        yield
    finally:
        _Ending.held = before
