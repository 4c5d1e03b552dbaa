"""What a model of many cities is worth in another: `python -m mmgr_jax.transfer`.

    toy_cities   the eight generated cities; `python -m configs.toy_cities` builds them
    california   Santa Monica, Riverside and Palm Springs, whose records are built by
                 `python -m data_prep.build` with configs/santa_monica.py:osm_pois,
                 configs/socal.py:riverside and configs/socal.py:palm_springs

Behind the name variants of the cities' own configs, if any. For cities of your own add
a function as those below: the records of each are built by its own config; model,
losses and length are those of any one.
"""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from configs import common, santa_monica, socal, toy_cities
from mmgr_jax.evaluation.transfer.settings import TransferSettings
from mmgr_jax.parts import section


def get_config(variant: str | None = None) -> ConfigDict:
    """The study of a corpus."""
    first, _, others = (variant or "toy_cities").partition(",")
    name = common.parse_variant(first, tuple(CORPORA)) or "toy_cities"
    cities = CORPORA[name](others)
    c = cities[0]
    c.workdir = "_".join(["runs/transfer", name, *others.split(",")]).rstrip("_")
    c.corpus.records = tuple(one.records.dir for one in cities)
    c.corpus.categories = "by_name"
    c.eval.features = ("image", "both", "all")
    # Other cities than the tested one choose, and like strong penalties.
    c.eval.strengths = (1e-2, 1.0, 1e2, 1e3, 1e4, 1e5, 1e6)
    return c


def _toy_cities(variants: str) -> list[ConfigDict]:
    cities = [toy_cities.get_config(f"{name},{variants}") for name in toy_cities.CITIES]
    cities[0].transfer = section(TransferSettings())
    # Cities differ in light and sensor, which the features should not tell.
    cities[0].augment.jitter_probability = 0.8
    if "smoke" not in variants.split(","):
        cities[0].train.total = "800 steps"  # as many whatever the number of cities
    return cities


def _california(variants: str) -> list[ConfigDict]:
    cities = [
        santa_monica.get_config(f"osm_pois,{variants}".rstrip(",")),
        *(socal.get_config(f"{name},{variants}") for name in socal.NUM_CHIPS),
    ]
    cities[0].transfer = section(
        TransferSettings(
            years="any",  # people of 2010 in Santa Monica, of 2020 elsewhere
            num_labels=(10, 25),
        )
    )
    cities[0].train.total = "240 steps"
    cities[0].train.save_every = "120 steps"
    cities[0].optim.warmup = "20 steps"
    return cities


CORPORA: Mapping[str, Callable[[str], list[ConfigDict]]] = {
    "toy_cities": _toy_cities,
    "california": _california,
}
"""Name -> (variants) -> a config for each city; that of the first says the study."""
