"""What each part of the method is worth: `python -m mmgr_jax.ablation --config=...`.

`configs/ablation.py:toy_city` takes the config of that city and trains it once for each
entry of `ablation.variants` and each seed, then evaluates all of them in one report,
together with a random encoder, imported weights if `eval.imported` names some, and the
baselines. The POI encoder alone is "MMGR poi" in that report.

Variants: the cities below; after a comma, the city's own variants
(`configs/ablation.py:shanghai,recommended`); `smoke` is a few regions and steps, for
tests.
"""

from ml_collections import ConfigDict

from configs import common, helsinki, santa_monica, shanghai, toy_city, wuhan

CITIES = {
    "toy_city": toy_city.get_config,
    "santa_monica": santa_monica.get_config,
    "helsinki": helsinki.get_config,
    "shanghai": shanghai.get_config,
    "wuhan": wuhan.get_config,
    "smoke": lambda variant: toy_city.get_config(f"smoke,{variant}"),
}


def get_config(variant: str | None = None) -> ConfigDict:
    """The ablation of a city."""
    first, _, others = (variant or "toy_city").partition(",")
    name = common.parse_variant(first, tuple(CITIES)) or "toy_city"
    c = CITIES[name](others)
    c.workdir = "_".join(["runs/ablation", name, *others.split(",")]).rstrip("_")
    c.ablation = dict(  # mmgr_jax.ablation.run
        seeds=(0,),
        variants=(  # (name, changed keys of the config); the first is "MMGR"
            ("MMGR", ()),
            ("image only", (("loss.image_weight", 1.0),)),
            ("inter only", (("loss.image_weight", 0.0),)),
        ),
    )
    c.eval.features = ("image", "poi", "both")
    c.eval.curves.methods = (
        "MMGR image",
        "image only image",
        "inter only image",
        "random image",
        "MMGR both",
        "poi counts",
    )
    return c
