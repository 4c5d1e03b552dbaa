"""`python -m mmgr_jax.transfer`: what a model of many cities is worth in another."""

from ml_collections import ConfigDict

from mmgr_jax import cli

USAGE = """Leaves each city of a corpus out in turn: neither encoder nor heads know it.

Trains an encoder of all cities, one without each city, each city's own and some of few
cities; carries heads of the other cities to the tested one, with none, few and all of
its labels; beside them image statistics and POI counts whose heads come from the same
cities. What is trained stays: repeat the command to go on. It says its length first.

  python -m configs.toy_cities
  python -m mmgr_jax.transfer --config=configs/transfer.py:toy_cities
  python -m mmgr_jax.transfer --config=configs/transfer.py:toy_cities \\
      --config.transfer.tested="('slate','tropic')"

In the workdir: transfer.html, transfer.txt, transfer.json, and the runs in encoders/.
"""


def main(config: ConfigDict) -> None:
    """Trains and tests; libraries load once flags are fine."""
    from mmgr_jax.transfer import command

    command.run(config)


if __name__ == "__main__":
    cli.run(main, USAGE, shortcuts=("workdir",), session=cli.session)
