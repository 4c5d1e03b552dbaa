"""`python -m data_prep.import_released`: a released sample to records."""

from ml_collections import ConfigDict

from mmgr_jax import cli, summary
from mmgr_jax.extras import install

_USAGE = f"""Makes records of the folders of the released MMGR sample.

It needs PyTorch to read the sample's tensors:
{install("torch")}.

The sample does not say where POIs and regions lie, so maps of the records cannot be
drawn, and splits by block are random splits.

Usage:
    python -m data_prep.import_released --config=configs/released_sample.py
"""


def main(config: ConfigDict) -> None:
    """Runs the command; loads libraries only after the flags are checked."""
    from data_prep.import_released import command
    from mmgr_jax.data import schema

    folder = command.import_records(config)
    count = schema.Manifest.load(folder).num_regions
    summary.end([f"{count:,} regions"], {"records": folder})


if __name__ == "__main__":
    cli.run(main, _USAGE)
