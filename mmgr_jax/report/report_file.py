"""Reads and writes `report.json`, whose own hash reveals an edited number."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmgr_jax.data import contents
from mmgr_jax.errors import InputError

_OWN = "sha256"
_HEADS = "heads/about.json"  # see mmgr_jax.evaluation.kept_heads


def text(content: Mapping[str, Any]) -> str:
    """Writes the text of a report, with its own hash at the end.

    Args:
        content: As `report.report_json` lays it out.
    """
    plain = json.loads(json.dumps(content, allow_nan=False))
    hashed = {**plain, _OWN: contents.of_value(plain)}
    return json.dumps(hashed, indent=1) + "\n"


@contextlib.contextmanager
def understood(where: str | Path) -> Iterator[None]:
    """Reports in one sentence that a report lacks what the code within needs.

    Args:
        where: The report, or a name for several reports.

    Raises:
        InputError: For every error except errors of the operating system.
    """
    try:
        yield
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"{where}: no report of an evaluation ({error!r}). Name a report.json that "
            "`python -m mmgr_jax.eval` wrote."
        ) from error


def read(path: Path) -> dict[str, Any]:
    """Reads the content of a report.

    Raises:
        InputError: If the report is incomplete, was changed after it was written, or
            does not belong to the heads beside it. Older reports have no hash and are
            accepted without this check.
    """
    with understood(path):
        report = json.loads(path.read_text(encoding="utf-8"))
        declared = report.pop(_OWN, None)
        _ = report["tasks"].items()
    if declared is not None and declared != contents.of_value(report):
        raise InputError(
            f"{path}: edited or damaged since it was written. Evaluate again "
            "(`python -m mmgr_jax.eval --config=...`)."
        )
    _refuse_other_heads(path, report)
    return report


def _refuse_other_heads(path: Path, report: Mapping[str, Any]) -> None:
    """Raises InputError if the heads beside a report read other features.

    One evaluation writes both. So either the report was copied from another run, or an
    evaluation ended between writing the two.
    """
    differing: list[str] = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        theirs = json.loads((path.parent / _HEADS).read_bytes())["features"]
        ours = report["made_by"]
        differing = [
            key
            for key in sorted(theirs.keys() | ours.keys())
            if theirs.get(key) != ours.get(key)
        ]
    if differing:
        raise InputError(
            f"{path}: is not of the evaluation that left the heads beside it (other "
            f"{', '.join(differing)}). Put the report of this run back, or evaluate "
            "again (`python -m mmgr_jax.eval --config=...`)."
        )
