"""The grid of linear heads, beside the same grid by scikit-learn in a loop."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import turns
from benchmarks.table import Row
from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation.design import grid, splits, targets
from mmgr_jax.evaluation.heads.fits import Fits
from mmgr_jax.evaluation.heads.protocols import PROTOCOLS, STRENGTHS

CLASSES = 10
ITERATIONS = 10_000  # scikit-learn's most


def rows(options: argparse.Namespace) -> list[Row]:
    """A row for each kind of label and number of features."""
    return [
        _compare(kind, length, options)
        for length in options.features
        for kind in options.kinds
    ]


def _compare(kind: str, length: int, options: argparse.Namespace) -> Row:
    x, target = made_up(kind, options.regions, length)
    split = splits.Split(np.arange(len(x)) % options.folds, options.folds)
    cells = grid.cells(split, target.known, seeds=tuple(range(options.seeds)))

    def ours() -> Fits:
        return PROTOCOLS["linear"](x, target, cells, strengths=STRENGTHS)

    import sklearn.linear_model  # noqa: F401  before the limit: it meets what is loaded

    index = list(range(0, len(cells.cells), options.every))
    theirs, times = (
        [],
        {name: [] for name in ("ours", "ours_cpu", "sklearn", "sklearn_cpu")},
    )
    with threadpool_limits(1):
        for turn in range(options.rounds):
            fits, *mine = _timed(ours)
            share = index[turn :: options.rounds]
            fitted, *other = _timed(
                lambda share=share: [
                    (cell, *_alone(x, target, cells, cell, options)) for cell in share
                ]
            )
            theirs += fitted
            scale = len(cells.cells) / len(share)
            seconds = (*mine, *(scale * spent for spent in other))
            for name, spent in zip(times, seconds, strict=True):
                times[name].append(spent)
    differences = [
        np.max(np.abs(prediction - fits.prediction[cell])) / _size(target)
        for cell, prediction, strength in theirs
        if strength == fits.chosen[cell]
    ]
    return {
        "label": kind,
        "regions": len(x),
        "features": length,
        "heads": len(cells.cells) * len(STRENGTHS),
        **turns.spread("ours_s", times["ours"]),
        **turns.spread("sklearn_s", times["sklearn"]),
        **turns.spread("ours_cpu_s", times["ours_cpu"]),
        **turns.spread("sklearn_cpu_s", times["sklearn_cpu"]),
        **turns.ratios("ratio", times["sklearn"], times["ours"]),
        **turns.ratios("cpu_ratio", times["sklearn_cpu"], times["ours_cpu"]),
        "max_difference": float(np.max(differences)),
        "median_difference": float(np.median(differences)),
        "same_strength": len(differences) / len(theirs),
    }


def _timed(call: Callable) -> tuple:
    """What a call gives, its seconds, and those of the processor."""
    start, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - start, time.process_time() - cpu


def _size(target: targets.Target) -> float:
    """What differences of numbers are parts of: the largest; 1 of shares."""
    return float(np.nanmax(np.abs(target.values))) if target.is_number else 1.0


def made_up(kind: str, num_regions: int, length: int) -> tuple:
    """Features of falling variance, and a label that hangs on some of their causes."""
    rng = np.random.default_rng(0)
    causes = rng.normal(size=(num_regions, 32)) * 0.9 ** np.arange(32)
    x = np.maximum(causes @ rng.normal(size=(32, length)), 0)
    x = (x + 0.1 * rng.normal(size=x.shape)).astype(np.float32)
    noise = 0.5 * rng.normal(size=num_regions)
    if kind == "count":
        values = np.exp(3 + causes[:, 0] + noise)
        return x, targets.check(kind, Label(kind, "persons"), values, num_regions)
    logits = 2 * causes @ rng.normal(size=(32, CLASSES)) / np.sqrt(8)
    shares = np.exp(logits + rng.normal(size=logits.shape))
    shares /= shares.sum(axis=1, keepdims=True)
    names = tuple(f"class {number}" for number in range(CLASSES))
    label = Label(kind, "1", names)
    if kind == "class":
        values = np.argmax(shares, axis=1).astype(np.float64)
        return x, targets.check(kind, label, values, num_regions)
    shares[shares < 0.02] = 0
    shares /= shares.sum(axis=1, keepdims=True)
    return x, targets.check(kind, label, shares, num_regions)


def _alone(
    x: np.ndarray,
    target: targets.Target,
    cells: grid.Grid,
    cell: int,
    options: argparse.Namespace,
) -> tuple[np.ndarray, float]:
    """One cell by scikit-learn: predictions of every region, and the strength."""
    from sklearn.preprocessing import StandardScaler

    train, validation = cells.train[cell], cells.validation[cell]
    scaler = StandardScaler().fit(x[train].astype(np.float64))
    z = np.asarray(scaler.transform(x.astype(np.float64)))
    fit = _ridge if target.is_number else _softmax
    predict, loss = fit(z[train], target, train, validation, options)
    fits = []
    for strength in STRENGTHS:
        predicted = predict(strength, z)
        fits.append((loss(predicted), strength, predicted))
    _, strength, predicted = min(fits, key=lambda fit: fit[0])
    if target.is_number:
        scale = targets.TargetScale.of(target.values[train], log=target.log)
        predicted = scale.restored(predicted)
    return predicted, strength


def _ridge(
    z: np.ndarray,
    target: targets.Target,
    train: np.ndarray,
    validation: np.ndarray,
    options: argparse.Namespace,
) -> tuple[Callable, Callable]:
    from sklearn.linear_model import Ridge

    scale = targets.TargetScale.of(target.values[train], log=target.log)
    y = scale.regressed(target.values)

    def predict(strength: float, everyone: np.ndarray) -> np.ndarray:
        return Ridge(alpha=strength).fit(z, y[train]).predict(everyone)

    return predict, lambda predicted: np.mean((predicted - y)[validation] ** 2)


def _softmax(
    z: np.ndarray,
    target: targets.Target,
    train: np.ndarray,
    validation: np.ndarray,
    options: argparse.Namespace,
) -> tuple[Callable, Callable]:
    """Shares are as many weighted copies of a region as it has classes."""
    from sklearn.linear_model import LogisticRegression

    shares = target.shares()
    region, number = np.nonzero(shares[train])
    weight = shares[train][region, number]

    def predict(strength: float, everyone: np.ndarray) -> np.ndarray:
        model = LogisticRegression(C=1 / strength, tol=options.tol, max_iter=ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of fits that end at the last iteration
            model.fit(z[region], number, sample_weight=weight)
        predicted = np.zeros((len(everyone), shares.shape[1]))
        predicted[:, model.classes_] = model.predict_proba(everyone)
        return predicted

    def loss(predicted: np.ndarray) -> float:
        log_shares = np.log(np.maximum(predicted[validation], 1e-12))
        return -np.mean(np.sum(shares[validation] * log_shares, axis=1))

    return predict, loss
