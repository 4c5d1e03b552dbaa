"""One linear head at a time by scikit-learn: what the grid of heads must equal."""

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler


def _standardised(x, train):
    x = x.astype(np.float64)
    return StandardScaler().fit(x[train]).transform(x)


def ridge(x, values, train, validation, strengths, *, log):
    """Prediction of every region by the strength that validates best, and that."""
    y, scale = values, 1.0
    if log:
        positive = y[train][y[train] > 0]
        scale = np.median(positive)
        y = np.log1p(y / scale)
    z = _standardised(x, train)
    told = [Ridge(alpha=a).fit(z[train], y[train]).predict(z) for a in strengths]
    best = np.argmin([np.mean((p - y)[validation] ** 2) for p in told])
    told = told[best]
    if log:
        ceiling = 2 * values[train].max()
        told = np.clip(scale * np.expm1(told), 0, ceiling)
    return told, strengths[best]


def softmax(x, shares, train, strength):
    """A soft target is k copies of the region, one a class, weighted by the shares."""
    seen = np.flatnonzero(shares[train].sum(axis=0) > 0)
    z = _standardised(x, train)
    oracle = LogisticRegression(C=1 / strength, tol=1e-9, max_iter=100_000).fit(
        np.repeat(z[train], len(seen), axis=0),
        np.tile(seen, train.sum()),
        sample_weight=shares[train][:, seen].ravel(),
    )
    told = np.zeros((len(x), shares.shape[1]))
    told[:, seen] = oracle.predict_proba(z)
    return told
