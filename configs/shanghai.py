"""Shanghai as in Bai et al. (2023): ResNet-50, 224 px, batch 128, 120 epochs.

The sources are yours to bring; put them where the paths point, or override the paths
(`--config.imagery.paths="('my/*.tif',)"`). `python -m data_prep.build
--config=configs/shanghai.py --dry_run` says what is missing.

Variants (`configs/shanghai.py:released`); each is a function of configs/recipes.py, and
several are applied in order (`configs/shanghai.py:large_batch,runlocal`):
    paper         the method as meant; the default
    recommended   what we would train: docs/representation.md
    released      with every habit of the released program that changes numbers
    large_batch   what we recommend for thousands of regions a step
    runlocal      a small encoder, tile and budget, to try one's own data on a laptop
    laptop        all regions on two cores without a GPU: configs/my_city.py
    gpu, pod      recommended for one GPU with 24 GB, and for several accelerators
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str | None = None) -> ConfigDict:
    """Shanghai by `common.RECIPES`."""
    return common.paper_city("shanghai", "EPSG:32651", variant)  # UTM 51N
