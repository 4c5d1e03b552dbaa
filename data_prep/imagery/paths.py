"""Finds the files of the paths and patterns of a config."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

_SIGNS = set("*?[")
_RECURSIVE = "**"


def expand(paths: Sequence[str]) -> list[Path]:
    """Lists the files of paths and glob patterns, sorted, each once.

    Pattern characters in the name of an existing file or folder stand for themselves:
    "ortho [2020]/*.tif" finds the files in the folder of that name. "**" stands for any
    number of folders. A file that links reach twice counts once.
    """
    files: set[Path] = set()
    for pattern in map(str, paths):
        if Path(pattern).exists():
            files.add(Path(pattern))
            continue
        base = fixed_folder(pattern)
        rest = os.path.relpath(pattern, base)
        names = glob.glob(rest, root_dir=base, recursive=True)
        inside = [base / name for name in names]
        if _RECURSIVE in Path(pattern).parts:
            inside = [path for path in _once(inside) if not path.is_dir()]
        files.update(inside)
    return sorted(files)


def fixed_folder(pattern: str) -> Path:
    """Returns the existing folder at the start of a pattern, below which it looks."""
    base = Path(*Path(pattern).parts[:1]) if Path(pattern).is_absolute() else Path()
    for part in Path(pattern).parts[len(base.parts) : -1]:
        if not (base / part).is_dir():
            break
        base /= part
    return base


def folders(paths: Sequence[str], further: Sequence[str]) -> list[Path]:
    """Returns the config's folders, where files named by other files may lie."""
    return sorted({*map(fixed_folder, map(str, paths)), *map(Path, further)})


def none_found(pattern: str) -> str:
    """Says why a path or pattern may have found nothing; "" if no reason is known."""
    if pattern.startswith("/vsi") or "://" in pattern:
        return (
            " Nothing is read from the network or from within archives: download "
            "or unpack it first."
        )
    if not _SIGNS & set(pattern):
        return ""
    return (
        f" It is a pattern below {str(fixed_folder(pattern))!r}, in which * ? and [ ] "
        "are signs: a bracket that is meant is written [[]."
    )


def other_case(pattern: str, files: Sequence[Path]) -> list[Path]:
    """Lists files that a pattern omits because their ending differs in case."""
    ending = Path(pattern).suffix
    if not ending or _SIGNS & set(ending) or Path(pattern).exists():
        return []
    stem = pattern.removesuffix(ending)
    either = "".join(
        f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else letter
        for letter in ending
    )
    return sorted(set(expand([stem + either])) - set(files))


def _once(paths: Sequence[Path]) -> list[Path]:
    """Of several ways to one file the shortest."""
    ways: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: (len(path.parts), path)):
        ways.setdefault(os.path.realpath(path), path)
    return list(ways.values())
