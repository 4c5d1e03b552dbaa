"""The released sample of Shanghai, by the recipes of the other cities.

Put its folders under `data/released_sample/raw`, then

    python -m mmgr_jax.main --config=configs/released_sample.py:released

takes them over as records (`python -m data_prep.import_released` does that alone) and
trains. The sample does not say where its regions lie, so no maps are drawn and splits
by block are random splits.

Variants: the recipes of configs/shanghai.py.
"""

from ml_collections import ConfigDict

from configs import common
from data_prep.import_released.settings import PopulationSettings, ReleasedSettings
from mmgr_jax.parts import section


def get_config(variant: str | None = None) -> ConfigDict:
    """The released sample by `common.RECIPES`."""
    c = common.paper_city("released_sample", "EPSG:32651", variant)  # UTM 51N
    population = PopulationSettings(
        kind="scalar",
        unit="persons per cell of 1 km",
        year=2020,
        source="WorldPop",
        licence="CC BY 4.0",
    )
    c.released_sample = section(
        ReleasedSettings("data/released_sample/raw", population)
    )
    c.after_training = ("eval",)  # maps need places
    return c
