"""Notes what a folder was fetched for; another command continues it or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmgr_jax.disk import files
from mmgr_jax.errors import InputError


def read_state(
    path: Path, question: dict[str, Any], what: str
) -> dict[str, Any] | None:
    """Reads the note of an earlier command in a folder; None: there was none.

    Args:
        path: The note; its key "question" holds what the earlier command asked for.
        question: What this command asks for.
        what: What is in the folder, such as "images".

    Raises:
        InputError: If the earlier command asked for something else, or the note is
            damaged.
    """
    folder = path.parent
    try:
        state: Any = files.from_json(path.read_bytes())
        asked = dict(state["question"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: is damaged. Remove {folder}, and give the command again."
        ) from error
    if asked != question:
        names = [key for key in question if asked.get(key) != question[key]]
        raise InputError(
            f"{folder}: holds {what} that were fetched with another "
            f"{', '.join(names) or 'question'}. Name another --out, or remove it."
        )
    return state
