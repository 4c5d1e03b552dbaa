"""What a model of many cities is worth in another: `python -m mmgr_jax.transfer`.

`configs/transfer.py:toy_cities` takes the eight generated cities, whose records
`python -m configs.toy_cities` builds. For cities of your own copy this file: the
records of each are built by its own config; model, losses and length are those of any
one.

Variants: `toy_cities`, and behind it those of configs/toy_city.py; `smoke` is a few
regions and steps, for tests.
"""

from ml_collections import ConfigDict

from configs import common, toy_cities
from mmgr_jax.evaluation.transfer.settings import TransferSettings
from mmgr_jax.parts import section

CORPORA = ("toy_cities",)


def get_config(variant: str | None = None) -> ConfigDict:
    """The study of a corpus."""
    first, _, others = (variant or "toy_cities").partition(",")
    name = common.parse_variant(first, CORPORA) or "toy_cities"
    cities = {
        city: toy_cities.get_config(f"{city},{others}") for city in toy_cities.CITIES
    }
    c = next(iter(cities.values()))
    c.workdir = "_".join(["runs/transfer", name, *others.split(",")]).rstrip("_")
    c.corpus.records = tuple(one.records.dir for one in cities.values())
    c.corpus.categories = "by_name"
    c.transfer = section(TransferSettings())
    # Cities differ in light and sensor, which the features should not tell.
    c.augment.jitter_probability = 0.8
    if "smoke" not in others.split(","):
        c.train.total = "800 steps"  # as many whatever the number of cities
    c.eval.features = ("image", "both", "all")
    # Other cities than the tested one choose, and like strong penalties.
    c.eval.strengths = (1e-2, 1.0, 1e2, 1e3, 1e4, 1e5, 1e6)
    return c
