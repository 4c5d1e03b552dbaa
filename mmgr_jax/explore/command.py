"""`python -m mmgr_jax.explore`: a page over a city's embeddings."""

from __future__ import annotations

import logging
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from mmgr_jax import cli, run_settings
from mmgr_jax.devices import distributed
from mmgr_jax.devices.settings import FOR_FEATURES
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.explore import change, city, content, document

USAGE = """Writes one HTML page over a city's embeddings.

It opens by a double click, with the network off: imagery, regions, labels, predictions
with their intervals, groups of alike regions, and a search for what is alike. Features
and heads are those of `mmgr_jax.eval` and `mmgr_jax.embed`; what is missing is made.
docs/explore.md has the details. It needs `pip install -r requirements-explore.txt`.

  python -m mmgr_jax.explore --config=configs/toy_city.py
  python -m mmgr_jax.explore --config=... --out=city.html
  python -m mmgr_jax.explore --config=... --config.embed.features=both

What changed since an earlier year, whose records the same encoder reads:

  python -m mmgr_jax.explore --config=later.py --before=data/earlier/records
  python -m mmgr_jax.explore ... --before=... --unchanged=known.csv
"""

NAME = "explore.html"

log = logging.getLogger(__name__)


def explore(
    config: ConfigDict,
    out: str | None = None,
    before: str | None = None,
    unchanged: str | None = None,
) -> Path:
    """Writes the page of a city.

    Args:
        config: Of the city.
        out: A file ending in .html; None: `explore.html` in the workdir.
        before: Records folder of an earlier year; None: no change is shown.
        unchanged: A CSV with the column `region_id`: regions that are believed to be
            unchanged since then; None: nobody says.

    Returns:
        The file. With `before` a GeoParquet file of the change lies beside it.

    Raises:
        InputError: If records or checkpoint are missing or do not fit, nobody knows
            where regions lie, the map library is not installed, or the name of the
            file does not end in .html.
    """
    if out is not None and not out.endswith(".html"):
        raise InputError(f"--out={out!r}; allowed: a file ending in .html.")
    path = Path(out or Path(run_settings.read(config).workdir) / NAME)
    document.require_library()
    gathered = city.gather(config, before, unchanged)
    made = content.of(gathered)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        files.replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as stream,
    ):
        for part in document.write(made):
            stream.write(part)
    log.info(
        "page of %d regions, %.1f MB: %s (open it by a double click)",
        len(made.about["ids"]), path.stat().st_size / 1e6, path,
    )  # fmt: skip
    if gathered.since is not None:
        table = path.with_name(f"{path.stem}_change.parquet")
        change.write_table(table, gathered)
        log.info("what changed, for other programs: %s", table)
    return path


def main() -> None:
    """Entry point of `python -m mmgr_jax.explore`."""
    out = flags.DEFINE_string("out", None, "The page: a file ending in .html.")
    before = flags.DEFINE_string(
        "before", None, "Records folder of an earlier year: what changed since then."
    )
    unchanged = flags.DEFINE_string(
        "unchanged", None, "A CSV with region_id: regions that did not change since."
    )

    def command(config: ConfigDict) -> None:
        explore(config, out.value, before.value, unchanged.value)

    cli.run(
        distributed.by_first(command),
        USAGE,
        shortcuts=("workdir", "checkpoint"),
        session=cli.session,
        cpu_devices=FOR_FEATURES,
    )
