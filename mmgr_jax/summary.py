"""How a command that writes files ends: its figures, and the files to open.

At most `MOST_LINES` lines on standard output. With --quiet they are the paths alone,
one a line, for a shell to take; a command that writes no file prints its answer with it
as without. Warnings and errors go to standard error then.
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
    """Ends that wait for others."""

    def __init__(self, logged: bool) -> None:
        self.logged, self.figures, self.paths = logged, list[str](), dict[str, str]()


class _Ending:
    """What is known of the end of this process's command."""

    paths_alone = False
    held: _Held | None = None


def print_paths_alone(alone: bool) -> None:
    """Whether ends are paths alone from here on, as --quiet wants them."""
    _Ending.paths_alone = alone


def end(figures: Sequence[str], paths: Mapping[str, str | Path]) -> None:
    """Prints the end of a command, or of a part of it.

    Args:
        figures: Sentences on what came of it, those that matter most first. Those that
            do not fit into `MOST_LINES` are counted instead.
        paths: What a file is for -> the file or folder that was written.
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
    """The first lines, and where the others are, if there are more than so many."""
    if len(texts) <= most:
        return texts
    return [*texts[: most - 1], f"... and {len(texts) - most + 1} more {where}"]


@contextlib.contextmanager
def together(*, logged: bool = False) -> Iterator[None]:
    """Makes one end of all that end within; also where the last of them fails.

    Args:
        logged: Whether files are named as they come, too: what follows takes long.
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
    """What ends within is a part: its files are logged, and the whole has its own end.

    Where one fails, the lines above the error say what is done.
    """
    before, _Ending.held = _Ending.held, _Held(logged=True)
    try:
        yield
    finally:
        _Ending.held = before
