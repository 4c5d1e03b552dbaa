"""What `python -m data_prep.validate` does: sources before, records after."""

from __future__ import annotations

import logging
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from data_prep import check as city_checks
from data_prep import settings as settings_lib
from data_prep import sources
from data_prep.settings import PreparationSettings
from data_prep.validate import content as content_lib
from data_prep.validate import page
from mmgr_jax import cli
from mmgr_jax.data import schema
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

_USAGE = """Checks a city's sources, and its records where there are any.

Prints what is wrong and where, and writes a page to look at: maps of regions and POIs,
distributions of the labels, tiles with their POIs. Exit status 0: fit; 2: not fit.

Usage:
    python -m data_prep.validate --config=configs/toy_city.py
    python -m data_prep.validate --config=configs/shanghai.py --html=/tmp/shanghai.html
"""


def validate(config: ConfigDict, html: str | None = None) -> Path | None:
    """Checks sources and records of a city; prints and writes the report.

    Args:
        config: The city's configuration.
        html: Where the page goes; None: `validation.html` beside the records folder.

    Returns:
        The page, None where there are no records yet.

    Raises:
        InputError: If sources are unfit, or a record is.
    """
    settings = settings_lib.read(config)
    records_dir = settings.records_dir
    has_records = (records_dir / schema.MANIFEST_FILE).exists()
    _check_sources(settings, has_records)
    if not has_records:
        print(
            f"no records in {records_dir} yet: build them with "
            "`python -m data_prep.build --config=...`"
        )
        return None
    content = content_lib.read(records_dir)
    path = Path(html) if html else records_dir.with_name("validation.html")
    files.write_text(path, page.page(content))
    print(page.text(content))
    print(f"to look at: {path}")
    if content.errors:
        raise InputError(
            f"{records_dir}: {len(content.errors)} error(s), listed above. Remove the "
            "folder and build the records again with `python -m data_prep.build`."
        )
    return path


def main() -> None:
    """Entry point of `python -m data_prep.validate`."""
    html = flags.DEFINE_string(
        "html", None, "Where the page goes; by default beside the records folder."
    )

    def command(config: ConfigDict) -> None:
        validate(config, html.value)

    cli.run(command, _USAGE)


def _check_sources(settings: PreparationSettings, has_records: bool) -> None:
    """Checks what there is: finished records outlive their sources."""
    if settings.released_sample:
        logging.info("sources: a released sample, checked when it is imported")
        return
    present = [sources.present(path) for path in sources.named(settings).values()]
    if has_records and not any(present):
        logging.info("sources: none of them is here any more; checking records alone")
        return
    if settings.toy_city and not all(present):
        logging.info("sources: not generated yet; the build does that")
        return
    city_checks.check(settings)
    logging.info("sources: fit")
