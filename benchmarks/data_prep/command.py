"""`python -m benchmarks.data_prep SECTION`: one stage of the preparation, measured."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from benchmarks import table
from benchmarks.data_prep import building, category_vectors, synthetic, tiles
from benchmarks.table import Report
from mmgr_jax import cli
from mmgr_jax.errors import InputError

ALIGNMENT_POIS = 2_000
"""Of a trial of the alignment, drawn anew."""

SECTIONS = ("category_vectors", "pois", "labels", "tiles", "build", "alignment")

_USAGE = f"""Measures what the preparation of data costs, a section at a time.

category_vectors
    Runs `python -m data_prep.category_embedding` in a process of its own and prints the
    seconds of its stages and its peak memory, beside the limits of
    {category_vectors.LIMIT_S:g} s and {category_vectors.LIMIT_MIB:g} MiB. Without
    --config the POIs are those of a synthetic city, as many as in a public table of
    venues of Las Vegas, and the expected walks stand beside walks that igraph draws
    (requirements-benchmarks.txt).

pois
    Finds the regions of 300,000 synthetic POIs, and the graphs within them: seconds of
    each step. It reads no config.

labels
    Takes labels of 10,000 regions from files made for it: seconds of each form of
    label. It reads no config.

tiles
    Reads tiles of generated imagery and encodes them as records hold them, in one
    thread: tiles a second, beside the same windows read with rasterio alone and encoded
    by Pillow alone, in turns with ours; and the peak memory, beside the limit of
    {tiles.LIMIT_MIB:g} MiB. The imagery is a tiled GeoTIFF, and a mosaic of 100,000
    pixels a side. It reads no config.

build
    Builds whole cities of the numbers of regions that --regions names, from sparse
    GeoTIFFs, POIs and labels made for them, each in a process of its own: seconds of
    each stage, peak memory (PSS) of all its processes together, and by which power of
    the regions they grow. It reads no config.

alignment
    Shifts the POIs of a city, whose imagery and POIs are there, by 30, 100 and 450 m in
    random directions, as GCJ-02 would, and not at all, each --trials times with other
    2,000 POIs; puts them anywhere; and counts what `data_prep.validate --alignment`
    says. With --encoder=RUN that encoder's features stand beside the statistics.

Usage:
    python -m benchmarks.data_prep alignment --config=configs/toy_cities.py:harbour
    python -m benchmarks.data_prep category_vectors
    python -m benchmarks.data_prep category_vectors --config=configs/shanghai.py
    python -m benchmarks.data_prep tiles --json=bench.json
    python -m benchmarks.data_prep build --regions 1600 6400 25600 102400
"""


def main() -> None:
    """Entry point of `python -m benchmarks.data_prep`."""
    path = flags.DEFINE_string("json", None, "File for the result as JSON.")
    num_pois = flags.DEFINE_integer(
        "num_pois", synthetic.NUM_POIS, "POIs of the synthetic city; of a trial of "
        f"alignment, by default {ALIGNMENT_POIS:,}.", lower_bound=2
    )  # fmt: skip
    num_tiles = flags.DEFINE_integer(
        "num_tiles", tiles.NUM_TILES, "Tiles read of each image.", lower_bound=2
    )
    regions = flags.DEFINE_list(
        "regions", list(map(str, building.REGIONS)), "Regions of each city built."
    )
    workers = flags.DEFINE_integer(
        "workers", 0, "Processes that write shards; 0: as the build chooses."
    )
    trials = flags.DEFINE_integer(
        "trials", 20, "Shifts of each kind that alignment looks for.", lower_bound=1
    )
    encoder = flags.DEFINE_string(
        "encoder", "", "Run of an encoder that alignment reads the imagery by, too."
    )
    flags.FLAGS.set_default("config", synthetic.__file__)
    section = _take_section(sys.argv)

    def command(config: ConfigDict) -> None:
        report = Report(f"data_prep {section}")
        if section == "category_vectors":
            result = category_vectors.bench(config, num_pois.value)
            told = category_vectors.table(result)
        elif section == "build":
            result = building.bench(_sizes(regions.value), workers.value)
            told = building.table(result)
        elif section == "tiles":
            result = tiles.bench(num_tiles.value)
            told = tiles.table(result)
        elif section == "alignment":
            from benchmarks.data_prep import alignment  # it loads libraries

            shifted = num_pois.value if num_pois.present else ALIGNMENT_POIS
            result = alignment.rows(config, trials.value, shifted, encoder.value)
            told = table.table(result)
        elif section in SECTIONS:
            result = _rows(section)
            told = "\n".join(map(_line, result))
        else:
            raise InputError(
                f"section {section!r} is unknown; allowed: {', '.join(SECTIONS)}, as "
                "in `python -m benchmarks.data_prep tiles`."
            )
        report.tell(result if isinstance(result, list) else [result], told, path.value)

    cli.run(command, _USAGE)


def _rows(section: str) -> list[dict[str, Any]]:
    """The rows of a section that measures in this process.

    Imported here: what the other sections start would be charged with its memory.
    """
    if section == "pois":
        from benchmarks.data_prep import pois

        return pois.rows()
    from benchmarks.data_prep import labels

    with tempfile.TemporaryDirectory() as folder:
        return labels.rows(Path(folder))


def _line(row: Mapping[str, Any]) -> str:
    """What was measured, its counts, and its seconds beside the limit."""
    names = [str(value) for value in row.values() if isinstance(value, str)]
    counts = [
        f"{key} {value:,g}"
        for key, value in row.items()
        if not isinstance(value, str) and key not in ("seconds", "limit_s")
    ]
    word = "within" if row["seconds"] <= row["limit_s"] else "BEYOND"
    return (
        f"{' '.join(names):<24} {row['seconds']:8.2f} s, {word} {row['limit_s']:g} s "
        f"({', '.join(counts)})"
    )


def _sizes(numbers: Sequence[str]) -> list[int]:
    """The wanted sizes of cities."""
    if not numbers or not all(text.isdecimal() and int(text) > 0 for text in numbers):
        raise InputError(
            f"--regions {' '.join(numbers)}: allowed are whole numbers from 1, as in "
            "--regions 1600 6400."
        )
    return [int(text) for text in numbers]


def _take_section(arguments: list[str]) -> str:
    """Removes the name of the section from the command line: flags alone follow it.

    Numbers after --regions become one flag, which ends at a space otherwise.
    """
    if "--regions" in arguments:
        place = arguments.index("--regions")
        end = place + 1
        while end < len(arguments) and arguments[end].isdecimal():
            end += 1
        arguments[place:end] = ["--regions=" + ",".join(arguments[place + 1 : end])]
    has_name = len(arguments) > 1 and not arguments[1].startswith("-")
    return arguments.pop(1) if has_name else ""
