"""A small made-up city for heads: features, and labels that hang on them."""

import numpy as np

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation.design import splits, targets

CLASSES = ("a", "b", "c", "d")


def features(num_regions=240, num_features=12, seed=0):
    """Correlated, of different sizes, with an offset, float32; and what drives them."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(num_regions, 4))
    x = hidden @ rng.normal(size=(4, num_features)) * 3 + 50
    x += rng.normal(size=x.shape) * rng.uniform(0.1, 5, num_features)
    return x.astype(np.float32), hidden


def target(kind, hidden, seed=1):
    """A label of a kind, unknown for a part of the regions."""
    rng = np.random.default_rng(seed)
    if kind in ("share", "class"):
        shares = np.exp(2 * hidden @ rng.normal(size=(4, len(CLASSES))))
        shares /= shares.sum(axis=1, keepdims=True)
        if kind == "class":
            values = np.argmax(shares, axis=1).astype(float)
        else:
            shares[shares < 0.05] = 0
            values = shares / shares.sum(axis=1, keepdims=True)
        label = Label(kind=kind, unit="1", classes=CLASSES)
    else:
        noise = 0.3 * rng.normal(size=len(hidden))
        values = np.exp(2 + hidden[:, 0] + noise) if kind == "count" else hidden[:, 0]
        label = Label(kind=kind, unit="persons" if kind == "count" else "1")
    values[rng.random(len(hidden)) < 0.1] = np.nan
    return targets.check("made_up", label, values, len(hidden))


def split(num_regions, num_folds=4):
    return splits.Split(np.arange(num_regions) % num_folds, num_folds)
