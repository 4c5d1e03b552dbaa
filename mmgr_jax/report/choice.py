"""Which features are mapped: the best ones, chosen without the tested fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PREFERRED = ("both", "all", "image")
"""Kinds of features to map where the folds do not agree, in this order."""


def best(
    folds: Mapping[str, Sequence[float | int | None]], *, higher: bool
) -> str | None:
    """The method to map.

    For each fold the method is chosen that has the best mean score on the other folds.
    Where that is one method whatever the fold, no region's label has a say in the
    features that its own prediction is made of. Where it is not, no method is clearly
    the best, and the first of `PREFERRED` that there is is mapped instead.

    Args:
        folds: Method -> its score on each fold, None where not defined; names end in
            the kind of features.
        higher: Whether a higher score is better.

    Returns:
        The method; None where no score is defined.
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
