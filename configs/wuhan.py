"""Wuhan as in Bai et al. (2023): ResNet-50, 224 px, batch 128, 120 epochs.

Sources and variants as in configs/shanghai.py.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str | None = None) -> ConfigDict:
    """The paper's setting for Wuhan, optionally shrunk."""
    variant = common.parse_variant(variant, ("runlocal",))
    c = common.paper_city("wuhan", crs="EPSG:32649")  # UTM 49N
    return common.run_local(c) if variant == "runlocal" else c
