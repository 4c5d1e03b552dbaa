"""`python -m mmgr_jax.views`: draws a contact sheet of the views used in training."""

from absl import flags
from ml_collections import ConfigDict

from mmgr_jax import cli

USAGE = """Draws tiles beside the random views that training makes of them.

Look at them before a long run. Are the crops large enough to recognise a place? Do the
colours stay plausible? Is north still up where it should be?

  python -m mmgr_jax.views --config=configs/toy_city.py --out=views.png
  python -m mmgr_jax.views --config=... --rows=12 --config.augment.hue=0.05
"""


def main() -> None:
    """Entry point of `python -m mmgr_jax.views`."""
    out = flags.DEFINE_string("out", "views.png", "The picture to write.")
    rows = flags.DEFINE_integer("rows", 6, "Regions to show.")

    def command(config: ConfigDict) -> None:
        from mmgr_jax.views import sheet  # libraries load once flags are fine

        sheet.draw_views(config, out.value, rows.value)

    cli.run(command, USAGE, loads_jax=True)


if __name__ == "__main__":
    main()
