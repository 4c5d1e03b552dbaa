"""Wuhan as in Bai et al. (2023): ResNet-50, 224 px, batch 128, 120 epochs.

Sources and variants as in configs/shanghai.py.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str | None = None) -> ConfigDict:
    """Wuhan by `common.RECIPES`."""
    return common.paper_city("wuhan", "EPSG:32649", variant)  # UTM 49N
