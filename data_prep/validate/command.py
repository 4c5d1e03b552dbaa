"""What `python -m data_prep.validate` does: sources before, records after."""

from __future__ import annotations

import logging
from pathlib import Path

from ml_collections import ConfigDict

from data_prep import check as city_checks
from data_prep import settings as settings_lib
from data_prep import sources
from data_prep.alignment import doctor
from data_prep.settings import PreparationSettings
from data_prep.validate import content as content_lib
from data_prep.validate import page
from mmgr_jax import summary
from mmgr_jax.data import schema
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError


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
        sentence = (
            f"no records in {records_dir} yet: build them with "
            "`python -m data_prep.build --config=...`"
        )
        summary.end([sentence], {})
        return None
    content = content_lib.read(records_dir)
    path = Path(html) if html else records_dir.with_name("validation.html")
    files.write_text(path, page.page(content))
    level = logging.ERROR if content.errors else logging.INFO
    first, *details = page.text(content).splitlines()
    logging.log(level, "\n".join(details))
    summary.end([first], {"to look at": path})
    if content.errors:
        raise InputError(
            f"{records_dir}: {len(content.errors)} error(s), listed above. Remove the "
            "folder and build the records again with `python -m data_prep.build`."
        )
    return path


def check_alignment(config: ConfigDict) -> Path:
    """Says whether POIs lie where the imagery shows them; writes the page.

    Args:
        config: The city's configuration.

    Returns:
        The page.

    Raises:
        InputError: If sources are unfit or absent, or POIs lie elsewhere.
    """
    settings = settings_lib.read(config)
    city_checks.check(settings)
    measured = doctor.measure(settings)
    path = settings.records_dir.with_name("alignment.html")
    files.write_text(path, page.alignment_page(settings.city.name, measured))
    figures = [] if measured.is_shifted else [measured.sentence()]
    summary.end(figures, {"to look at": path})
    if measured.is_shifted:
        raise InputError(measured.sentence())
    return path


def _check_sources(settings: PreparationSettings, has_records: bool) -> None:
    """Checks what there is: finished records outlive their sources."""
    if settings.released_sample:
        logging.info("sources: a released sample, checked when it is imported")
        return
    present = [sources.present(path) for path in sources.named(settings).values()]
    if has_records and not any(present):
        logging.info(
            "sources: none of them is here any more; only the records are checked"
        )
        return
    if settings.toy_city and not all(present):
        logging.info("sources: not generated yet; the build does that")
        return
    city_checks.check(settings)
    logging.info("sources: no errors")
