"""Does the work of `python -m mmgr_jax.explore`: writes the page of a city."""

from __future__ import annotations

import logging
from pathlib import Path

from ml_collections import ConfigDict

from mmgr_jax import run_settings, summary
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.explore import change, city, content, document

NAME = "explore.html"

log = logging.getLogger(__name__)


def explore(
    config: ConfigDict,
    out: str | None = None,
    before: str | None = None,
    unchanged: str | None = None,
    occlusion: str | None = None,
) -> Path:
    """Writes the page of a city.

    Args:
        config: Configuration of the city.
        out: A file ending in .html; None: `explore.html` in the workdir.
        before: Records folder of an earlier year; None: no change is shown.
        unchanged: A CSV with the column `region_id`: regions that are believed to be
            unchanged since then; None: not known.
        occlusion: Regions whose predictions are made again without parts of them; see
            `readings.chosen`. None: none are.

    Returns:
        The file. With `before` a GeoParquet file of the change lies beside it.

    Raises:
        InputError: If records or checkpoint are missing or do not fit, the places of
            regions are not known, the map library is not installed, or the name of the
            file does not end in .html.
    """
    if out is not None and not out.endswith(".html"):
        raise InputError(f"--out={out!r}; allowed: a file ending in .html.")
    path = Path(out or Path(run_settings.read(config).workdir) / NAME)
    document.require_library()
    log.info("reading regions, features and predictions ...")
    gathered = city.gather(config, before, unchanged, occlusion)
    log.info("drawing the city and its groups of similar regions ...")
    made = content.of(gathered)
    log.info("writing the page ...")
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        files.replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as stream,
    ):
        for part in document.write(made):
            stream.write(part)
    paths = {"page to open by a double click": path}
    if gathered.since is not None:
        table = path.with_name(f"{path.stem}_change.parquet")
        change.write_table(table, gathered)
        paths["what changed, for other programs"] = table
    size_mb = path.stat().st_size / 1e6
    figures = [f"page of {len(made.about['ids'])} regions, {size_mb:.1f} MB"]
    summary.end(figures, paths)
    return path
