"""`python -m mmgr_jax.embed`: writes embeddings, predictions and maps of a city."""

from ml_collections import ConfigDict

from mmgr_jax import cli
from mmgr_jax.devices.settings import FOR_FEATURES

USAGE = """Writes embeddings and predictions of every region, and a map of each task.

The heads are those of the evaluation (`eval/heads` in the workdir). If there are none,
they are trained now. Regions with labels are predicted out of fold: each by a head that
has seen neither it nor its spatial block. Without labels and heads it writes embeddings
only. Features are kept in the workdir's folder `features`: after `mmgr_jax.eval`
nothing is encoded again, and a run that was stopped continues. Several processes share
the encoding; each takes a part of the regions.

  python -m mmgr_jax.embed --config=configs/toy_city.py
  python -m mmgr_jax.embed --config=... --checkpoint=runs/other
  python -m mmgr_jax.embed --config=... --config.embed.features=both
  python -m mmgr_jax.embed --config=... --config.embed.predict_from=image
  python -m mmgr_jax.embed --config=... --config.embed.predictions=False
  python -m mmgr_jax.embed --config=... --config.embed.formats="('gpkg','cog')"
  python -m mmgr_jax.embed --config=configs/other_city.py --checkpoint=runs/toy_city \\
      --config.embed.heads=runs/toy_city/eval/heads

In the workdir: maps/embeddings.parquet (GeoParquet) with predictions, the limits of
their 90 % intervals and a flag for regions unlike the training ones; maps/columns.csv
says what each of its columns is. For each task maps/<task>.png (truth, prediction,
error) and maps/<task>_certainty.png (intervals). On request (config.embed.formats)
maps/regions.gpkg with styles for QGIS, maps/<task>.tif where regions are a grid,
maps/regions.pmtiles, vector tiles for web maps, a STAC collection (stac), and a folder
for TensorBoard's projector (projector);
docs/use_results.md says how other programs read all this.
Embeddings are those of config.embed.features; predictions come from the features that
predict a label best, or from those that config.embed.predict_from names.
"""


def main(config: ConfigDict) -> None:
    """Embeds the regions; libraries load only after the flags are found correct."""
    from mmgr_jax.evaluation import mapping

    mapping.embed_together(config)


if __name__ == "__main__":
    cli.run(
        main,
        USAGE,
        shortcuts=("workdir", "checkpoint"),
        session=cli.session,
        cpu_devices=FOR_FEATURES,
    )
