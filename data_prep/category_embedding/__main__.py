"""`python -m data_prep.category_embedding`: vectors of POI categories."""

from ml_collections import ConfigDict

from mmgr_jax import cli

_USAGE = """Makes the vectors of a city's POI categories from its POI table.

A build makes them, too. This command makes them anew for records there are, or sends
them to a file of their own. Beside them category_neighbours.txt shows the nearest
categories of each. The records remember the settings: mmgr_jax.main keeps the vectors
when it is given the same, and makes them again, saying so, when it is given others.

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
    """Does it; libraries load once flags are fine."""
    from data_prep.category_embedding import command

    command.write(config)


if __name__ == "__main__":
    cli.run(main, _USAGE)
