"""`python -m mmgr_jax.eval`: evaluates the embeddings of a checkpoint."""

from ml_collections import ConfigDict

from mmgr_jax import cli
from mmgr_jax.devices.settings import FOR_FEATURES

USAGE = """Evaluates a checkpoint's features under spatial cross-validation.

Small models, called heads, predict every label of the city. The report compares them
with the same heads on a random encoder, on coordinates, POI counts and image
statistics, and with rules that need no head. Every score has an interval over spatial
blocks.

  python -m mmgr_jax.eval --config=configs/toy_city.py
  python -m mmgr_jax.eval --config=configs/toy_city.py --checkpoint=runs/other
  python -m mmgr_jax.eval --config=... --config.eval.protocols="('linear','mlp')"
  python -m mmgr_jax.eval --config=... --config.eval.features="('image',)"
  python -m mmgr_jax.eval --config=... --config.eval.buffer_m=500
  python -m mmgr_jax.eval --config=... \\
      --config.eval.other_records="('data/other_city/records',)"

It writes to the workdir: eval/report.html (open it by a double click),
eval/report.json, eval/metrics.txt (all tables), and eval/heads, with which
`mmgr_jax.embed` predicts.
"""


def main(config: ConfigDict) -> None:
    """Evaluates; libraries load only after the flags are found correct."""
    from mmgr_jax.devices import distributed
    from mmgr_jax.evaluation import run

    distributed.by_first(run.evaluate)(config)


if __name__ == "__main__":
    cli.run(
        main,
        USAGE,
        shortcuts=("workdir", "checkpoint"),
        session=cli.session,
        cpu_devices=FOR_FEATURES,
    )
