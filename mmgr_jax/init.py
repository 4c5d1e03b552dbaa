"""`python -m mmgr_jax.init`: writes the first config of a city from its files."""

import logging

from absl import flags

from mmgr_jax import cli, summary
from mmgr_jax.errors import InputError

USAGE = """Writes the first config of a city from its files.

The files say where they lie and in which CRS, which bands and type of pixels they have,
how fine they are, which columns hold coordinates and kinds of places, and what each
label is. Sizes of regions, blocks and batches follow from that. What the files do not
say is marked in the config (# ASK: ...) and listed at the end. No existing file is
overwritten.

  python -m mmgr_jax.init --imagery="data/oulu/raw/ortho/*.tif" \\
      --pois=data/oulu/raw/pois.csv \\
      --labels=data/oulu/raw/population.tif --labels=data/oulu/raw/land_use.gpkg
  python -m mmgr_jax.init --imagery=city.tif --name=oulu --out=configs/oulu.py

Without --pois the config trains on images only. Without --labels a run ends in
embeddings and a map of their clusters. Then:

  python -m data_prep.build --config=configs/oulu.py --dry_run   # what it would make
  python -m mmgr_jax.main --config=configs/oulu.py               # the first map
"""

_IMAGERY = flags.DEFINE_string(
    "imagery", None, "Imagery: a file, or a pattern of files in quotes."
)
_POIS = flags.DEFINE_string(
    "pois", None, "Points of interest: a table, an extract .osm.pbf, or of Overture."
)
_LABELS = flags.DEFINE_multi_string(
    "labels", [], "A raster or table with a label; may be given several times."
)
_NAME = flags.DEFINE_string(
    "name", None, "Name of the city; by default that of the imagery's folder."
)
_OUT = flags.DEFINE_string("out", None, "The config; by default configs/NAME.py.")


def main() -> None:
    """Asks questions, writes the config, and says what the user still has to do."""
    if not _IMAGERY.value:
        raise InputError(
            "--imagery is missing: name a file or a pattern in quotes, such as "
            "--imagery='data/oulu/raw/*.tif'. See --help."
        )
    from data_prep.first_config import command  # libraries load once flags are fine
    from mmgr_jax.devices import machine

    written = command.first_config(
        _IMAGERY.value,
        _POIS.value,
        _LABELS.value,
        name=_NAME.value,
        out=_OUT.value,
        num_accelerators=machine.num_accelerators(),
    )
    logging.info("%s", written.page())
    summary.end(written.onward(), {"written": written.path})


if __name__ == "__main__":
    cli.run_without_config(main, USAGE, (_IMAGERY, _POIS, _LABELS, _NAME, _OUT))
