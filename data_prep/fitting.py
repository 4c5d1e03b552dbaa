"""Checks whether finished records are those that a config would build."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from data_prep import comparison, generated, sources
from data_prep.category_embedding import vectors as vectors_lib
from data_prep.import_released import command as released_command
from data_prep.records import writer
from data_prep.settings import PreparationSettings
from mmgr_jax.data import schema
from mmgr_jax.errors import InputError


def misfit(
    manifest: schema.Manifest, differing: Sequence[str], settings: PreparationSettings
) -> str | None:
    """Why finished records must be built again; None: they still fit.

    Args:
        manifest: Manifest of the records.
        differing: The settings that now differ, from `comparison.differing`.
        settings: The present settings.
    """
    return writer.misfit(
        manifest,
        settings.records_dir,
        _of_records(differing, manifest, settings),
        lambda: _changed_sources(manifest, settings.records_dir, settings),
    )


def _of_records(
    differing: Sequence[str], manifest: schema.Manifest, settings: PreparationSettings
) -> list[str]:
    """The settings among those that differ that take a whole build to follow.

    Without its POIs only a build can tell what is missing, or generate it. And where
    names part the categories, the vectors' settings decide what the records hold.
    """
    recipes = (manifest.config, comparison.comparable(settings))
    by_names = any(
        vectors_lib.reads_names(config.get(comparison.VECTORS, {}))
        for config in recipes
    )
    if (
        settings.released_sample
        or by_names
        or not sources.present(settings.pois.path or "")
    ):
        return list(differing)
    return [name for name in differing if not name.startswith(comparison.VECTORS)]


def _changed_sources(
    manifest: schema.Manifest, records_dir: Path, settings: PreparationSettings
) -> list[str]:
    """Names of the sources that are others than the manifest has; none if all are gone.

    Of a generated city, what would generate others counts too.
    """
    if settings.released_sample:
        folders = released_command.present(settings.released_sample)
        return sources.changed_since(manifest, folders, records_dir) if folders else []
    paths = sources.named(settings).values()
    if not any(sources.present(path) for path in paths):
        logging.info(
            "%s: the sources are not here, so the records are used as they are",
            records_dir,
        )
        return []
    if settings.toy_city and not generated.is_generated(settings):
        return ["the generated city"]
    try:
        source_files = sources.files(settings)
    except InputError:  # of a mosaic; a build says it with all else that is wrong
        return ["a mosaic"]
    return sources.changed_since(manifest, source_files, records_dir)
