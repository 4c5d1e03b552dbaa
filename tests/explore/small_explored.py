"""A city to explore of forty regions, whose heads are drawn instead of trained."""

import numpy as np
from sklearn.linear_model import Ridge

from mmgr_jax.data import schema
from mmgr_jax.data.source import RecordSource
from mmgr_jax.evaluation import predictors, readouts
from mmgr_jax.evaluation.certainty import applicability
from mmgr_jax.evaluation.design.grid import Cell
from mmgr_jax.evaluation.design.targets import TargetScale
from mmgr_jax.evaluation.features.groups import Features, beside
from mmgr_jax.evaluation.heads.head import Head
from mmgr_jax.explore import city, occlusion
from mmgr_jax.explore import parts as parts_lib
from mmgr_jax.explore import words as words_lib

HOSTILE = '<img src=x onerror="document.title=1">'
CATEGORIES = ("bank", f"cafe{HOSTILE}", "</script><script>document.title=2</script>",
              "=1+1", "shop\u202e\u2028")  # fmt: skip
LABELS = {
    "function": schema.Label("share", "1", ("forest", HOSTILE, "residential")),
    "population": schema.Label(
        "count", "<b>persons</b>", year=2020, source=f"census {HOSTILE}", licence="CC0"
    ),
}


def explored(records_dir, *, num_features=(24, 6), seed=0):
    """The city of a records folder, with features that follow the labels a little."""
    source = RecordSource(records_dir)
    evaluated = readouts.EvaluatedCity.of(source)
    regions = evaluated.regions
    rng = np.random.default_rng(seed)
    count = len(source)
    hidden = rng.normal(size=(count, 4))
    groups = [
        Features.of(name, (hidden @ rng.normal(size=(4, width))).astype(np.float32))
        for name, width in zip(("image", "poi"), num_features, strict=True)
    ]
    noisy = [
        Features.of(
            part.groups[0][0],
            part.values + rng.normal(size=part.values.shape).astype(np.float32),
        )
        for part in groups
    ]
    tasks = {
        name: city.ExploredTask(
            label,
            regions.labels[name],
            _drawn(rng, label, regions.labels[name]),
        )
        for name, label in source.manifest.labels.items()
    }
    tasks["zone"] = _zone(rng, count)
    features = beside(noisy)
    if "population" in tasks:
        label, truth = tasks["population"].label, regions.labels["population"]
        tasks["population"] = linear_task(label, truth, features)
    pois = city._count_pois(source)
    return city.ExploredCity(
        source=source,
        region_ids=regions.region_ids,
        geometry_wkb=regions.geometry_wkb,
        block_id=regions.block_id,
        centre_m=evaluated.centre_m,
        kind="both",
        made_by="the same",
        features=features,
        pois=pois,
        projections=(
            rng.normal(size=(count, 8)).astype(np.float32),
            rng.normal(size=(count, 8)).astype(np.float32),
        ),
        poi_weights=_poi_weights(rng, len(source.manifest.categories)),
        tasks=tasks,
        occlusion=_lost(rng, pois, tasks),
        words=_words(len(source.manifest.categories)),
    )


def _words(categories):
    """A vocabulary whose words are categories of their own."""
    axes = np.eye(categories)
    names = [f"word{chr(97 + index)}" for index in range(categories)]
    return words_lib.Words(
        names,
        np.round(32767 * axes).astype(np.int16),
        np.full(categories, 1 / 32767),
        np.zeros(categories),
        axes,
        axes,
        6,
    )


def linear_task(label, truth, features, categories=0):
    """A number whose heads are drawn, two of them, each for half of the regions."""
    rng = np.random.default_rng(7)
    width, count = features.num_features, len(features)
    fold = np.arange(count) % 2
    heads = {
        number: Head(
            "linear",
            {"kernel": rng.normal(0, 0.1, (width, 1)), "bias": np.array([0.3])},
            np.zeros(width),
            np.ones(width),
            TargetScale(True, unit, 1e9, 2.0, 0.7),
            Cell(number, 1.0, 0),
            1.0,
            label=label,
        )
        for number, unit in ((0, 30.0), (1, 40.0), (predictors.UNSEEN, 50.0))
    }
    predictor = predictors.Predictor(
        heads,
        np.array(0.5),
        35.0,
        applicability.fit(features.values, fold),
        fold,
    )
    value = predictor.values(features.values, fold)
    prediction = predictors.Prediction(
        value, value * 0.5, value * 1.5, np.arange(count) < 2
    )
    parts = parts_lib.of_task(predictor, features, fold, categories)
    return city.ExploredTask(label, truth, prediction, parts)


def _lost(rng, pois, tasks):
    """What two regions lose; of the shares nothing of the tile."""
    count = len(pois.start) - 1
    region = np.unique(np.minimum([3, 11], count - 1))
    sizes = [pois.start[i + 1] - pois.start[i] for i in region]
    own = [pois.category[pois.start[i] : pois.start[i + 1]] for i in region]
    number = sum(sizes)
    lost = {
        "population": occlusion.OccludedTask(
            np.zeros(len(region), int),
            rng.normal(size=(len(region), 4, 4)),
            rng.normal(size=number),
        ),
        "function": occlusion.OccludedTask(np.arange(len(region)), None, None),
    }
    lost = {name: task for name, task in lost.items() if name in tasks}
    start = np.cumsum([0, *sizes])
    return occlusion.Occlusion(region, 4, start, np.concatenate(own), lost)


def _zone(rng, count):
    """A label that is one class, not known everywhere, whose name is a path."""
    label = schema.Label("class", "1", ("a/b", "c", "d"))
    truth = rng.integers(0, 3, count).astype(np.float32)
    truth[-3:] = np.nan
    likely = rng.dirichlet(np.ones(3), count)
    nothing = np.full(count, np.nan)
    unlike = np.zeros(count, bool)
    return city.ExploredTask(
        label, truth, predictors.Prediction(likely, nothing, nothing, unlike)
    )


def _poi_weights(rng, c, width=3, p=8):
    """Weights of a POI encoder, drawn; test_poi_encoder.py has real ones."""
    shapes = {
        "vectors": (c, width),
        "kernelIh": (2 * width, 4 * width),
        "kernelHh": (width, 4 * width),
        "biasIh": (4 * width,),
        "biasHh": (4 * width,),
        "empty": (2 * width,),
        "kernel1": (2 * width + c + 1, p),
        "bias1": (p,),
        "kernel2": (p, p),
        "bias2": (p,),
    }
    drawn = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    arrays = {name: values.astype(np.float32) for name, values in drawn.items()}
    return {"c": c, "width": width, "steps": 2, "counts": True, **arrays}


def _drawn(rng, label, truth):
    """What heads might predict: the truth, blurred, and an interval around it."""
    value = np.abs(truth * rng.uniform(0.7, 1.3, truth.shape))
    if label.kind == "share":
        value /= value.sum(axis=1, keepdims=True)
    unlike = np.zeros(len(truth), bool)
    unlike[:2] = True
    return predictors.Prediction(value, value * 0.5, value * 1.5, unlike)


def ridge_of(features, weights, rows, values, *, strength):
    """What the head "linear" says of every region, by scikit-learn's ridge.

    Columns are standardised by the labelled regions and weighted; values are
    log(1 + value / median), standardised.
    """
    own = features[rows]
    spread = own.std(axis=0)
    inverse = np.where(spread > 1e-6, weights / np.where(spread > 0, spread, 1), 0)
    scaled = (features - own.mean(axis=0)) * inverse
    unit = np.median(values[values > 0])
    target = np.log1p(values / unit)
    middle, deviation = target.mean(), target.std()
    ridge = Ridge(alpha=strength).fit(scaled[rows], (target - middle) / deviation)
    predicted = ridge.predict(scaled) * deviation + middle
    ceiling = np.log1p(2 * values.max() / unit)
    return unit * np.expm1(np.clip(predicted, 0, ceiling))
