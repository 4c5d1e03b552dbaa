"""Shanghai as in Bai et al. (2023): ResNet-50, 224 px, batch 128, 120 epochs.

The sources are yours to bring; put them where the paths point, or override the paths
(`--config.imagery.paths="('my/*.tif',)"`). `python -m data_prep.build
--config=configs/shanghai.py --dry_run` says what is missing.

Variants:
    runlocal    a small encoder, tile and budget, to try one's own data on a laptop
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str | None = None) -> ConfigDict:
    """The paper's setting for Shanghai, optionally shrunk."""
    variant = common.parse_variant(variant, ("runlocal",))
    c = common.paper_city("shanghai", crs="EPSG:32651")  # UTM 51N
    return common.run_local(c) if variant == "runlocal" else c
