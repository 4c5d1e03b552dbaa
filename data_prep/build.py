"""From a city's raw files to its records: the order of events.

1. Generate the raw files, when the config asks for a generated city.
2. Check every source, and name all that is wrong at once.
3. Cut the imagery into regions; find each region's POIs, labels and block.
4. Make the vectors of the POI categories.
5. Write the records beside their folder, then rename them into place.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from data_prep import category_embedding, import_released, sources
from data_prep import check as city_checks
from data_prep import city as city_lib
from data_prep import sections as sections_lib
from data_prep.category_embedding import command as vector_command
from data_prep.files import disk
from data_prep.imagery import Imagery
from data_prep.records import estimate, runners, writer
from data_prep.records.runners import Runner
from data_prep.running import progress
from mmgr_jax import cli
from mmgr_jax.data import contents, schema, source, texts, tiles
from mmgr_jax.errors import InputError

_GENERATED_FILE = "generated.json"
_USAGE = """Builds a city's records from its imagery, POIs and labels.

A stopped build goes on where it was when the command is given again. The bytes of the
records do not depend on who writes them: threads, processes or Apache Beam.

Usage:
    python -m data_prep.build --config=configs/toy_city.py
    python -m data_prep.build --config=configs/shanghai.py --dry_run
    python -m data_prep.build --config=configs/shanghai.py --workers=8
    python -m data_prep.build --config=configs/shanghai.py --runner=beam \
        --beam_options=--runner=FlinkRunner,--flink_master=localhost:8081
"""


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Serialised records of some regions; travels to other processes.

    Attributes:
        city: The city.
        imagery: The imagery; other processes get its headers and open its files.
        tile_writer: How tiles are written.
    """

    city: city_lib.City
    imagery: Imagery
    tile_writer: tiles.Writer

    def __call__(self, regions: Sequence[int]) -> Iterator[bytes]:
        """Returns the records in the order of `regions`."""
        return city_lib.encoded(self.city, self.imagery, regions, self.tile_writer)


def build(
    config: ConfigDict, *, dry_run: bool = False, run: Runner | None = None
) -> Path:
    """Builds the records of a city; a stopped build goes on where it was.

    Args:
        config: The city's configuration; its data preparation sections are read.
        dry_run: Print what a build would do, from the real sources; write nothing.
        run: Who writes the shards; None for `runners.local()`.

    Returns:
        The records folder (not made by a dry run).

    Raises:
        InputError: Naming everything that is wrong with the sources and settings.
    """
    if config.get(sections_lib.RELEASED):
        raise InputError(
            "config.released is set, so there is nothing to build: take the sample "
            "over with `python -m data_prep.import_released --config=...`."
        )
    sections = sections_lib.read(config)
    records_dir = sections_lib.records_dir(sections)
    if dry_run:
        _dry_run(sections, records_dir)
        return records_dir
    if sections["toy_city"] and not _is_generated(sections):
        _generate(sections)
    city_checks.check(sections)
    writer.refuse_foreign(records_dir)
    with writer.alone(records_dir):
        start = time.monotonic()
        stamps = contents.Stamps(records_dir / contents.STAMPS_FILE)
        described = sources.describe(sources.files(sections), records_dir, stamps)
        fingerprint = sources.fingerprint(sections_lib.comparable(sections), described)
        if not writer.finish(records_dir, fingerprint):
            work = _Work(records_dir, fingerprint, described, stamps)
            count = _write(sections, work, run or runners.local())
            elapsed = progress.duration(time.monotonic() - start)
            logging.info("%s: %d records in %s", records_dir, count, elapsed)
    return records_dir


def ensure(config: ConfigDict) -> Path:
    """The records of a config, built only when there are none that fit it.

    Records fit when the same data preparation settings made them and the content of
    the sources, side files and members of mosaics included, is unchanged, or all of
    them are gone; where they lie does not matter. Where the settings of the category
    vectors alone are others, only their table is made again. Records of another maker
    than `build` (their manifest names no settings) are taken as they are. A released
    sample is imported.

    Args:
        config: The city's configuration.

    Returns:
        The records folder.

    Raises:
        InputError: If the records are missing or do not fit, and cannot be built; or
            somebody changed them.
    """
    if config.get(sections_lib.RELEASED):
        return import_released.ensure(config)
    sections = sections_lib.read(config)
    records_dir = sections_lib.records_dir(sections)
    if not (records_dir / schema.MANIFEST_FILE).exists():
        return build(config)
    manifest = schema.Manifest.load(records_dir)
    if not manifest.config:
        return records_dir
    differing = sections_lib.differing(manifest.config, sections)
    cause = writer.misfit(
        manifest,
        records_dir,
        _of_records(differing, manifest, sections),
        lambda: _changed_sources(manifest, records_dir, sections),
    )
    if cause:
        logging.info("%s: %s; building again", records_dir, cause)
        return build(config)
    if differing:
        logging.info(
            "%s: category vectors made with other settings (%s); making them again",
            records_dir,
            ", ".join(differing),
        )
        vector_command.write_to_records(config)
    source.RecordSource(records_dir)  # one process reads what others find read
    return records_dir


def open_imagery(sections: sources.Sections) -> Imagery:
    """The imagery of a config on the pixel grid of its regions."""
    return Imagery(
        **sections["imagery"],
        crs=sections["city"]["crs"],
        gsd_m=sections["regions"]["gsd_m"],
    )


def main() -> None:
    """Entry point of `python -m data_prep.build`."""
    dry_run = flags.DEFINE_bool(
        "dry_run",
        False,
        "Check the sources and print regions, POIs, labels, size and time of a build; "
        "write nothing.",
    )
    workers = flags.DEFINE_integer(
        "workers", 0, "Processes that write shards; 0 chooses by the number of regions."
    )
    runner = flags.DEFINE_enum("runner", "local", runners.NAMES, "Who writes shards.")
    beam_options = flags.DEFINE_list(
        "beam_options", [], "Apache Beam's own flags, separated by commas."
    )

    def command(config: ConfigDict) -> None:
        run = runners.make(
            runner.value, workers=workers.value, beam_options=beam_options.value
        )
        build(config, dry_run=dry_run.value, run=run)

    cli.run(command, _USAGE)


@dataclasses.dataclass(frozen=True)
class _Work:
    """Records to be made.

    Attributes:
        records_dir: Their folder.
        fingerprint: Of settings and sources.
        described: The sources, as they were when the work began.
        stamps: Remembers what was read.
    """

    records_dir: Path
    fingerprint: str
    described: dict[str, dict[str, Any]]
    stamps: contents.Stamps


def _write(sections: sources.Sections, work: _Work, run: Runner) -> int:
    """Writes the records of checked sources; their number."""

    def check() -> None:
        now = sources.files(sections)
        sources.refuse_changed(work.described, now, work.stamps)

    settings = sections["records"]
    tile_writer = writer.tile_writer(settings)
    with open_imagery(sections) as imagery:
        city = city_lib.gather(sections, imagery)
        made = category_embedding.make(
            city.pois, **sections_lib.vector_settings(sections)
        )
        # Names have done their work, and the city travels to other processes.
        pois = dataclasses.replace(made.pois, name=None)
        city = dataclasses.replace(city, pois=pois)
        manifest = city_lib.manifest(
            city,
            tile_writer.image_format,
            sources=work.described,
            config=sections_lib.comparable(sections),
        )
        writer.write(
            work.records_dir,
            manifest=manifest,
            vectors=made.vectors,
            beside={texts.FILE: made.space.to_bytes()} if made.space else {},
            encode=Encoder(city, imagery, tile_writer),
            num_shards=settings["num_shards"],
            fingerprint=work.fingerprint,
            run=run,
            region_ids=city.regions.ids,
            folds=city.splits.folds,
            stamps=work.stamps,
            check=check,
        )
    return len(city.regions)


def _dry_run(sections: dict[str, Any], records_dir: Path) -> None:
    """Prints what a build would do; a generated city goes to a scratch folder."""
    with tempfile.TemporaryDirectory() as scratch:
        if sections["toy_city"] and not _is_generated(sections):
            sections = _moved(sections, scratch)
            _generate(sections)
        city_checks.check(sections)
        writer.refuse_foreign(records_dir)
        with open_imagery(sections) as imagery:
            city = city_lib.gather(sections, imagery)
            print(estimate.report(city, imagery, **sections["records"]))


def _generate(sections: sources.Sections) -> None:
    """Makes the raw files of a generated city."""
    from data_prep import toy_city

    settings = sections["toy_city"]
    logging.info("generating the raw files of a city in %s", settings["out_dir"])
    mark = Path(settings["out_dir"]) / _GENERATED_FILE
    with disk.writing(mark.parent, "config.toy_city.out_dir"):
        mark.unlink(missing_ok=True)
        toy_city.generate(**settings)
        mark.write_text(_note(settings), encoding="utf-8")


def _is_generated(sections: sources.Sections) -> bool:
    """Whether the raw files are there and were generated from these settings."""
    settings = sections["toy_city"]
    mark = Path(settings["out_dir"]) / _GENERATED_FILE
    if not all(sources.present(path) for path in sources.named(sections).values()):
        return False
    return mark.exists() and mark.read_text(encoding="utf-8") == _note(settings)


def _note(settings: dict[str, Any]) -> str:
    """What lies beside generated files once they are complete."""
    from data_prep import toy_city

    made_by = {"settings": settings, "generator": toy_city.VERSION}
    return json.dumps(made_by, indent=2, sort_keys=True) + "\n"


def _moved(sections: dict[str, Any], folder: str) -> dict[str, Any]:
    """The sections with the generated files in another folder."""
    out_dir = sections["toy_city"]["out_dir"]

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: moved(item) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return tuple(moved(item) for item in value)
        if isinstance(value, str) and value.startswith(out_dir):
            return folder + value.removeprefix(out_dir)
        return value

    return moved(sections)


def _of_records(
    differing: Sequence[str], manifest: schema.Manifest, sections: sources.Sections
) -> list[str]:
    """The settings among those that differ that take a whole build to follow.

    Without its POIs only a build can tell what is missing, or generate it. And where
    names part the categories, the vectors' settings decide what the records hold.
    """
    recipes = (manifest.config, sections_lib.comparable(sections))
    by_names = any(
        category_embedding.reads_names(config.get(sections_lib.VECTORS, {}))
        for config in recipes
    )
    if by_names or not sources.present(sections["pois"]["path"] or ""):
        return list(differing)
    return [name for name in differing if not name.startswith(sections_lib.VECTORS)]


def _changed_sources(
    manifest: schema.Manifest, records_dir: Path, sections: sources.Sections
) -> list[str]:
    """Names of the sources that are others than the manifest has; none if all are gone.

    Of a generated city, what would generate others counts too.
    """
    paths = sources.named(sections).values()
    if not any(sources.present(path) for path in paths):
        logging.info("%s: the sources are not here; taken as it is", records_dir)
        return []
    if sections["toy_city"] and not _is_generated(sections):
        return ["the generated city"]
    try:
        found = sources.files(sections)
    except InputError:  # of a mosaic; a build says it with all else that is wrong
        return ["a mosaic"]
    return sources.changed_since(manifest, found, records_dir)


if __name__ == "__main__":
    main()
