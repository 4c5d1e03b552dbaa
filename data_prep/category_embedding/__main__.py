"""`python -m data_prep.category_embedding`: vectors of POI categories."""

from ml_collections import ConfigDict

from mmgr_jax import cli

_USAGE = """Makes the vectors of a city's POI categories from its POI table.

A build makes them, too. This command makes them again for existing records, or writes
them to another file. category_neighbours.txt beside them lists the nearest categories
of each category. The records store the settings. With the same settings mmgr_jax.main
keeps the vectors; with others it makes them again, and says so.

Usage:
    python -m data_prep.category_embedding --config=configs/toy_city.py
    python -m data_prep.category_embedding --config=configs/shanghai.py \\
        --config.category_vectors.out=vectors.npy
    python -m data_prep.category_embedding --config=configs/shanghai.py \\
        --config.category_vectors.method=table \\
        --config.category_vectors.table.path=my_vectors.csv
    python -m data_prep.category_embedding --config=configs/helsinki.py \\
        --config.category_vectors.method=text
"""


def main(config: ConfigDict) -> None:
    """Runs the command; loads libraries only after the flags are checked."""
    from data_prep.category_embedding import command

    command.write(config)


if __name__ == "__main__":
    cli.run(main, _USAGE)
