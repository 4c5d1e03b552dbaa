"""Chooses the features to map: the best ones, judged without the tested fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PREFERRED = ("both", "all", "image")
"""Kinds of features to map where the folds do not agree, in this order."""


def best(
    folds: Mapping[str, Sequence[float | int | None]], *, higher: bool
) -> str | None:
    """Chooses the method to map.

    For each fold, the method with the best mean score on the other folds is chosen. If
    all folds choose the same method, the score on a region's own fold does not affect
    the features of its prediction. Its label affects them a little, because it trains
    the heads of other folds. If the folds choose different methods, none is clearly the
    best, and the first available one of `PREFERRED` is mapped instead.

    Args:
        folds: Method -> its score on each fold, None if not defined; names end with the
            kind of features.
        higher: Whether a higher score is better.

    Returns:
        The method; None if no score is defined.
    """
    sign = 1 if higher else -1
    count = max((len(scores) for scores in folds.values()), default=0)
    chosen = set()
    for left_out in range(count):
        means = {}
        for method, scores in folds.items():
            others = [
                score
                for fold, score in enumerate(scores)
                if score is not None and (fold != left_out or count == 1)
            ]
            if others:
                means[method] = sign * sum(others) / len(others)
        if means:
            chosen.add(max(means, key=lambda method: means[method]))
    if len(chosen) <= 1:
        return next(iter(chosen), None)
    for kind in PREFERRED:
        for method in folds:
            if method.rsplit(" ", 1)[-1] == kind:
                return method
    return sorted(chosen)[0]
