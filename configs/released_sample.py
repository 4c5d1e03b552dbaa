"""The released sample of Shanghai, by the recipes of the other cities.

Put its folders under `data/released_sample/raw`, then

    python -m mmgr_jax.main --config=configs/released_sample.py:released

takes them over as records (`python -m data_prep.import_released` does that alone) and
trains. The sample does not say where its regions lie, so no maps are drawn and splits
by block are random splits; a table of centres helps (config.released.centres).

Variants: the recipes of configs/shanghai.py.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(variant: str | None = None) -> ConfigDict:
    """The released sample by `common.RECIPES`."""
    c = common.paper_city("released_sample", "EPSG:32651", variant)  # UTM 51N
    raw = "data/released_sample/raw"
    c.released = dict(  # data_prep.import_released.sample.read
        image_dir=f"{raw}/sub_shanghai_img",
        vector_dir=f"{raw}/sub_shanghai_emb",
        edge_dir=f"{raw}/sub_shanghai_edge",
        labels=dict(
            population=dict(
                dir=f"{raw}/pop1km",
                kind="scalar",
                unit="persons per cell of 1 km",
                year=2020,
                source="WorldPop",
                licence="CC BY 4.0",
            ),
        ),
        lists=dict(),  # such as train="data/released_sample/raw/train-shanghai.txt"
        centres=placeholder(str),  # CSV with region_id, lon, lat in degrees
        datum="wgs84",  # of the centres; "gcj02" from AMap
        tile_size_m=placeholder(float),  # side of a tile; needed with centres
        tile_size_px=placeholder(int),  # resize images to this; None: all of one size
    )
    c.after_training = ("eval",)  # maps need centres
    return c
