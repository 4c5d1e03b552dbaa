"""Writes a config for fetched files, and builds records if no question is left."""

from __future__ import annotations

import logging
from pathlib import Path

from data_prep import build
from data_prep.fetch.request import Request
from data_prep.files import fetched
from data_prep.first_config import command as first_config
from mmgr_jax import summary
from mmgr_jax.devices import machine
from mmgr_jax.errors import InputError

IMAGERY, POIS = "imagery", "pois"


def config_path(request: Request) -> Path:
    """Returns the path for the config.

    Raises:
        InputError: If no config can be written there.
    """
    images = Path(str(request.out)) / IMAGERY / "*.tif"
    name = first_config.name_of(str(images))
    path = Path(request.write_config or first_config.usual_path(name))
    first_config.check_path(path, "--write_config")
    return path


def write_config(request: Request, folder: Path) -> Path | None:
    """Writes the config of the files in a folder, if there is none yet.

    Args:
        request: What the command asked for.
        folder: Folder with the files and the record of their sources.

    Returns:
        Path of the config if a build can use it unchanged; None: not yet.

    Raises:
        InputError: If the config cannot be written.
    """
    parts = fetched.read(folder)
    if IMAGERY not in parts:
        logging.info("no config yet: it needs imagery (--imagery, --cog or --tiles)")
        return None
    path = config_path(request)
    if path.exists():
        logging.info("%s: exists already and is not changed", path)
        return path
    written = first_config.first_config(
        str(folder / IMAGERY / "*.tif"),
        _files(folder, parts, POIS)[0] if POIS in parts else None,
        [
            file
            for label in sorted(set(parts) - {IMAGERY, POIS})
            for file in _files(folder, parts, label)
        ],
        name=first_config.name_of(str(folder / IMAGERY / "*.tif")),
        out=str(path),
        num_accelerators=machine.num_accelerators(),
    )
    logging.info("%s", written.page())
    summary.end(written.onward(), {"written": path})
    return None if written.questions else path


def build_records(path: Path | None) -> None:
    """Builds the records.

    Args:
        path: The config; None: it does not exist, or asks for what only the user knows.

    Raises:
        InputError: If there is no config to build from, or the build cannot continue.
    """
    if path is None:
        raise InputError(
            "--build: the config has open questions, listed above; answer them, then "
            "run `python -m data_prep.build --config=...`. The fetched files are "
            "kept."
        )
    text = path.read_text(encoding="utf-8")
    summary.end([], {"records": build.ensure(first_config.loaded(text, path))})


def _files(folder: Path, parts: dict[str, fetched.Fetched], name: str) -> list[str]:
    return [str(folder / file) for file in sorted(parts[name].files)]
