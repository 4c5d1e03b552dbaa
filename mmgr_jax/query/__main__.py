"""`python -m mmgr_jax.query`: ranks regions by how well they match a text."""

from absl import flags
from ml_collections import ConfigDict

from mmgr_jax import cli
from mmgr_jax.devices.settings import FOR_FEATURES
from mmgr_jax.query.kinds import KINDS

USAGE = """Ranks a city's regions by a text, such as "university campus".

The categories nearest to the text make a set of POIs. The trained POI encoder and its
projection head turn this set into a vector. Regions are ranked by the cosine between it
and their tiles, or their own POIs. The records' category vectors must have been made
with --config.category_vectors.method=text. Nothing leaves this machine. Details:
docs/text.md.

  python -m mmgr_jax.query --config=... --text="university campus"
  python -m mmgr_jax.query --config=... --text=harbour --text=allotments --top=10
  python -m mmgr_jax.query --config=... --text=harbour --by=poi --out=harbour.parquet

--out writes all regions: as GeoParquet if its name ends in .parquet, else as .csv.
"""


def main() -> None:
    """Entry point of `python -m mmgr_jax.query`."""
    text = flags.DEFINE_multi_string("text", [], "What to look for; may be repeated.")
    top = flags.DEFINE_integer("top", 20, "Regions printed for each text.")
    by = flags.DEFINE_enum(
        "by", "image", list(KINDS), "Compare the text with regions' tiles or POIs."
    )
    nearest = flags.DEFINE_integer("nearest", 5, "Categories a text may turn into.")
    out = flags.DEFINE_string("out", None, "File for all regions: .parquet or .csv.")

    def command(config: ConfigDict) -> None:
        from mmgr_jax.devices import distributed  # libraries load once flags are fine
        from mmgr_jax.query import ranking

        distributed.by_first(ranking.query)(
            config,
            text.value,
            top=top.value,
            by=by.value,
            nearest=nearest.value,
            out=out.value,
        )

    cli.run(
        command,
        USAGE,
        shortcuts=("workdir", "checkpoint"),
        session=cli.session,
        cpu_devices=FOR_FEATURES,
    )


if __name__ == "__main__":
    main()
