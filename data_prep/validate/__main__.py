"""`python -m data_prep.validate`: checks a city's sources, and its records."""

from absl import flags
from ml_collections import ConfigDict

from mmgr_jax import cli

_USAGE = """Checks a city's sources, and its records if there are any.

It prints what is wrong and where, and writes a page to look at: maps of regions and
POIs, distributions of the labels, tiles with their POIs. Exit status 0: no errors; 2:
errors.

Usage:
    python -m data_prep.validate --config=configs/toy_city.py
    python -m data_prep.validate --config=configs/shanghai.py --html=/tmp/shanghai.html
    python -m data_prep.validate --config=configs/shanghai.py --alignment

--alignment shifts the POIs by up to 600 m. It says whether they fit the imagery better
elsewhere, and whether a datum explains it: alignment.html beside the records.
"""


def main() -> None:
    """Entry point of `python -m data_prep.validate`."""
    html = flags.DEFINE_string(
        "html", None, "Where the page goes; by default beside the records folder."
    )

    alignment = flags.DEFINE_bool(
        "alignment", False, "Check the places of POIs against the imagery instead."
    )

    def check(config: ConfigDict) -> None:
        from data_prep.validate import command  # libraries load once flags are fine

        if alignment.value:
            command.check_alignment(config)
        else:
            command.validate(config, html.value)

    cli.run(check, _USAGE)


if __name__ == "__main__":
    main()
