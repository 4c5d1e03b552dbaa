"""Builds a city's records from its raw files, in this order.

1. Generate the raw files, when the config asks for a generated city.
2. Check every source, and name all that is wrong at once.
3. Cut the imagery into regions; find the POIs, labels and block of each region. 4. Make
the vectors of the POI categories. 5. Write the records to a folder next to their final
one, then rename it.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import ConfigDict

from data_prep import settings as settings_lib
from data_prep.records.names import RUNNERS
from data_prep.settings import PreparationSettings
from mmgr_jax import addresses, cli, summary
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read
from mmgr_jax.terminal import duration

if TYPE_CHECKING:  # --help shall not wait for the libraries of rasters and tables
    from data_prep.imagery.mosaic import Imagery
    from data_prep.records.runners import Runner
    from mmgr_jax.data import contents, schema

_USAGE = """Builds a city's records from its imagery, POIs and labels.

If a build was stopped, give the command again: it continues. The records have the same
bytes whether threads, processes or Apache Beam wrote them.

Usage:
    python -m data_prep.build --config=configs/toy_city.py
    python -m data_prep.build --config=configs/shanghai.py --dry_run
    python -m data_prep.build --config=configs/shanghai.py --workers=8
    python -m data_prep.build --config=configs/shanghai.py --runner=beam \\
        --beam_runner=FlinkRunner --beam_options=--flink_master=localhost:8081
"""


def build(
    config: ConfigDict,
    *,
    dry_run: bool = False,
    run: Runner | None = None,
    workers: int = 0,
) -> Path:
    """Builds the records of a city; continues a build that was stopped.

    Args:
        config: The city's configuration; its data preparation sections are read.
        dry_run: Read the real sources and print what a build would do; write nothing.
        run: What writes the shards; None for `runners.local(workers)`.
        workers: Number of processes on this machine, used where they save time; 0: one
            per core.

    Returns:
        The records folder (a dry run does not create it).

    Raises:
        InputError: If sources or settings are wrong; it names everything that is wrong.
    """
    from data_prep import check, comparison, generated, sources
    from data_prep.records import runners, writer
    from mmgr_jax.data import contents

    settings = settings_lib.read(config)
    if settings.released_sample:
        raise InputError(
            "config.released_sample is set, so there is nothing to build: import the "
            "sample with `python -m data_prep.import_released --config=...`."
        )
    records_dir = settings.records_dir
    if dry_run:
        rehearse(config, workers=workers)
        return records_dir
    if settings.toy_city and not generated.is_generated(settings):
        generated.generate(settings.toy_city)
    check.check(settings)
    writer.refuse_foreign(records_dir)
    with writer.alone(records_dir):
        start = time.monotonic()
        stamps = contents.Stamps(records_dir / contents.STAMPS_FILE)
        described = sources.describe(sources.files(settings), records_dir, stamps)
        fingerprint = sources.fingerprint(comparison.comparable(settings), described)
        if not writer.finish(records_dir, fingerprint):
            run = run or runners.local(workers)
            count = _write(settings, fingerprint, described, stamps, run, workers)
            elapsed = duration(time.monotonic() - start)
            logging.info("%s: %d records in %s", records_dir, count, elapsed)
    return records_dir


def ensure(config: ConfigDict) -> Path:
    """Returns the records of a config; builds them only when none fit the config.

    Records fit when they were made with the same data preparation settings, and the
    content of the sources is unchanged or all sources are gone. Sources include side
    files and members of mosaics; their location does not matter. Where only the
    settings of the category vectors differ, only the table of vectors is made again.
    Records that `build` did not make (their manifest names no settings) are used as
    they are. A released sample is imported instead of built.

    Args:
        config: The city's configuration.

    Returns:
        The records folder; for records on object storage, the folder of their copy.

    Raises:
        InputError: If the records are missing or do not fit and cannot be built, or if
            somebody changed them.
    """
    from data_prep import comparison, fitting
    from data_prep.category_embedding import command as vector_command
    from data_prep.import_released import command as released_command
    from mmgr_jax.data import schema, source

    settings = settings_lib.read(config)
    if addresses.is_address(settings.records.dir):
        return _copied(settings, str(settings.records.dir))
    make = released_command.import_records if settings.released_sample else build
    records_dir = settings.records_dir
    if not (records_dir / schema.MANIFEST_FILE).exists():
        return make(config)
    manifest = schema.Manifest.load(records_dir)
    if not manifest.config:
        return records_dir
    differing = comparison.differing(manifest.config, settings)
    if cause := fitting.misfit(manifest, differing, settings):
        logging.info("%s: %s; building again", records_dir, cause)
        return make(config)
    if differing:
        logging.info(
            "%s: category vectors made with other settings (%s); making them again",
            records_dir,
            ", ".join(differing),
        )
        vector_command.write_to_records(config)
    source.RecordSource(records_dir)  # one process reads what others find read
    return records_dir


def foreseen(config: ConfigDict) -> schema.Manifest:
    """Returns the manifest of the records `ensure` would return; writes nothing.

    Where the records would be built, it prints what the build would do.

    Raises:
        InputError: As from `ensure`.
    """
    from data_prep import comparison, fitting
    from mmgr_jax.data import remote, schema

    settings = settings_lib.read(config)
    records_dir = settings.records_dir
    if addresses.is_address(settings.records.dir):
        return remote.manifest_of(str(settings.records.dir))
    if not (records_dir / schema.MANIFEST_FILE).exists():
        return rehearse(config)
    manifest = schema.Manifest.load(records_dir)
    differing = comparison.differing(manifest.config, settings)
    cause = fitting.misfit(manifest, differing, settings) if manifest.config else None
    if cause:
        print(f"{records_dir}: {cause}, so a build would make these records again:")
        return rehearse(config)
    return manifest


def _copied(settings: PreparationSettings, address: str) -> Path:
    """A copy of records on object storage, which are taken only as they are.

    Raises:
        InputError: If other settings made them.
    """
    from data_prep import comparison
    from mmgr_jax.data import remote, source

    manifest = remote.manifest_of(address)
    if manifest.config and (names := comparison.differing(manifest.config, settings)):
        raise InputError(
            f"{address}: its records were made with other settings "
            f"({', '.join(names)}), and cannot be built again where they are. Give "
            "those settings, or build in a folder and name that in config.records.dir."
        )
    return source.RecordSource(address).records_dir


def open_imagery(settings: PreparationSettings) -> Imagery:
    """Opens the imagery of a config on the pixel grid of its regions."""
    from data_prep.imagery.mosaic import Imagery

    crs, gsd_m = settings.city.crs, settings.regions.gsd_m
    return Imagery(settings.imagery, crs=crs, gsd_m=gsd_m)


def main() -> None:
    """Entry point of `python -m data_prep.build`."""
    dry_run = flags.DEFINE_bool(
        "dry_run",
        False,
        "Check the sources and print regions, POIs, labels, size and time of a build; "
        "write nothing.",
    )
    workers = flags.DEFINE_integer(
        "workers",
        0,
        "Number of processes that look for regions and write shards; 0: chosen by "
        "the number of regions.",
    )
    runner = flags.DEFINE_enum(
        "runner",
        "local",
        RUNNERS,
        "What writes the shards: processes of this machine (local), or Apache Beam.",
    )
    beam_runner = flags.DEFINE_string(
        "beam_runner", None, "Apache Beam's name of its engine, such as DaskRunner."
    )
    beam_options = flags.DEFINE_list(
        "beam_options", [], "Apache Beam's own flags, separated by commas."
    )

    def command(config: ConfigDict) -> None:
        from data_prep.records import runners
        from mmgr_jax.data import schema

        run = runners.make(
            runner.value,
            workers=workers.value,
            beam_runner=beam_runner.value,
            beam_options=beam_options.value,
        )
        dry = dry_run.value
        folder = build(config, dry_run=dry, run=run, workers=workers.value)
        if not dry:
            count = schema.Manifest.load(folder).num_regions
            summary.end([f"{count:,} regions"], {"records": folder})

    cli.run(command, _USAGE)


def _write(
    settings: PreparationSettings,
    fingerprint: str,
    described: dict[str, dict[str, Any]],
    stamps: contents.Stamps,
    run: Runner,
    workers: int,
) -> int:
    """Writes the records of checked sources, described before; their number."""
    from data_prep import city as city_lib
    from data_prep import comparison, sources
    from data_prep.category_embedding import vectors as vectors_lib
    from data_prep.records import writer
    from mmgr_jax.data import texts

    def check() -> None:
        sources.refuse_changed(described, sources.files(settings), stamps)

    tile_writer = writer.tile_writer(settings.records)
    with open_imagery(settings) as imagery:
        city = city_lib.gather(settings, imagery, workers)
        made = vectors_lib.make(city.pois, settings.category_vectors)
        # Names have done their work, and the city travels to other processes.
        pois = dataclasses.replace(made.pois, name=None)
        city = dataclasses.replace(city, pois=pois)
        manifest = city_lib.manifest(
            city,
            tile_writer.image_format,
            sources=described,
            config=comparison.comparable(settings),
        )
        writer.write(
            settings.records_dir,
            manifest=manifest,
            vectors=made.vectors,
            beside={texts.FILE: made.space.to_bytes()} if made.space else {},
            encode=functools.partial(city_lib.encoded, city, imagery, tile_writer),
            num_shards=settings.records.num_shards,
            fingerprint=fingerprint,
            run=run,
            region_ids=city.regions.ids,
            folds=city.splits.folds,
            stamps=stamps,
            check=check,
        )
    return len(city.regions)


def rehearse(config: ConfigDict, *, workers: int = 0) -> schema.Manifest:
    """Prints what a build would do; writes a generated city to a scratch folder.

    Returns:
        The manifest of the records that a build would make, without their shards.
    """
    from data_prep import check, generated
    from data_prep import city as city_lib
    from data_prep.records import estimate, writer

    settings = settings_lib.read(config)
    records_dir = settings.records_dir
    with tempfile.TemporaryDirectory() as scratch:
        if settings.toy_city and not generated.is_generated(settings):
            settings = _moved(settings, settings.toy_city.out_dir, scratch)
            assert settings.toy_city is not None
            generated.generate(settings.toy_city)
        check.check(settings)
        writer.refuse_foreign(records_dir)
        with open_imagery(settings) as imagery:
            city = city_lib.gather(settings, imagery, workers)
            print(estimate.report(city, imagery, settings.records))
            image_format = settings.records.image_format
            return city_lib.manifest(city, image_format, sources={}, config={})


def _moved(
    settings: PreparationSettings, out_dir: str, folder: str
) -> PreparationSettings:
    """The settings with the generated files in another folder."""

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: moved(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return tuple(moved(item) for item in value)
        if isinstance(value, str) and value.startswith(out_dir):
            return folder + value.removeprefix(out_dir)
        return value

    return read(PreparationSettings, moved(dataclasses.asdict(settings)))


if __name__ == "__main__":
    main()
