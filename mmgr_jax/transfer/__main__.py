"""`python -m mmgr_jax.transfer`: tests a model of many cities in another city."""

from ml_collections import ConfigDict

from mmgr_jax import cli

USAGE = """Measures how well a model works in a city that it has not seen.

It leaves out each city of a corpus in turn. It trains an encoder of all cities, one
without each city, one of each city alone and some of few cities. Then heads of the
other cities predict the tested one, with no, few and all of its labels. Image
statistics and POI counts, with heads from the same cities, are beside them. It says
first how long it takes. If it was stopped, repeat the command: nothing is trained
twice.

  python -m configs.toy_cities
  python -m mmgr_jax.transfer --config=configs/transfer.py:toy_cities
  python -m mmgr_jax.transfer --config=configs/transfer.py:toy_cities \\
      --config.transfer.tested="('slate','tropic')"

It writes to the workdir: transfer.html, transfer.txt, transfer.json, and the runs in
encoders/.
"""


def main(config: ConfigDict) -> None:
    """Trains and tests; libraries load only after the flags are found correct."""
    from mmgr_jax.transfer import command

    command.run(config)


if __name__ == "__main__":
    cli.run(main, USAGE, shortcuts=("workdir",), session=cli.session)
