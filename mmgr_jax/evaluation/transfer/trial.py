"""Tests a city by encoders and heads of other cities, and by its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mmgr_jax.evaluation.design import grid as grid_lib
from mmgr_jax.evaluation.design import targets
from mmgr_jax.evaluation.design.splits import Split
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import jobs
from mmgr_jax.evaluation.heads.fits import Fits
from mmgr_jax.evaluation.heads.jobs import Job
from mmgr_jax.evaluation.readouts import EvaluatedCity
from mmgr_jax.evaluation.settings import EvalSettings
from mmgr_jax.evaluation.transfer import encoders as encoders_lib
from mmgr_jax.evaluation.transfer import heads
from mmgr_jax.evaluation.transfer.library import RANDOM, Library, side_by_side
from mmgr_jax.evaluation.transfer.settings import TransferSettings
from mmgr_jax.evaluation.trials import curves
from mmgr_jax.evaluation.trials.progress import WorkProgress
from mmgr_jax.evaluation.trials.results import Point, Result
from mmgr_jax.evaluation.trials.scores import Certainty, Judge

OTHERS, OWN = "other cities", "own city"
"""Source of labels that heads have seen: other cities, or the city's other blocks."""

ADAPTED, ALONE = "adapted", "own labels alone"
"""Use of few labels: they correct heads of other cities, or train heads alone."""

Targets = Mapping[str, Mapping[str, Target]]
"""`[label][city]`."""


@dataclasses.dataclass(frozen=True)
class StudiedCity:
    """A city and the split by which its regions are tested.

    Attributes:
        city: The records.
        split: The split of the city by spatial blocks.
    """

    city: EvaluatedCity
    split: Split


@dataclasses.dataclass(frozen=True)
class Study:
    """Data and settings that all tested cities share.

    Attributes:
        cities: Name -> city, sorted.
        targets: The labels that all cities share.
        library: Features of the cities.
        settings: The section `transfer`.
        eval_settings: Kinds of features, strengths, baselines and intervals.
    """

    cities: Mapping[str, StudiedCity]
    targets: Targets
    library: Library
    settings: TransferSettings
    eval_settings: EvalSettings

    @property
    def names(self) -> list[str]:
        """Names of the cities."""
        return list(self.cities)


@dataclasses.dataclass(frozen=True)
class Method:
    """Features of a method, and the cities whose labels its heads may use.

    Attributes:
        name: Name such as "never seen both" or "image statistics".
        features: Name of a city -> its features.
        teachers: Cities whose heads may be applied to the tested city; () for none.
        few: Whether the method is also tried with few labels.
        constant: Whether it predicts the same for all regions.
    """

    name: str
    features: Mapping[str, Features]
    teachers: tuple[str, ...]
    few: bool = False
    constant: bool = False


@dataclasses.dataclass(frozen=True)
class CityResult:
    """Results of one label in a tested city.

    Attributes:
        results: Source of the labels -> method -> result.
        points: Method -> `ADAPTED` or `ALONE` -> points, fewest labels first.
        headline: The metric to look at first.
    """

    results: Mapping[str, Mapping[str, Result]]
    points: Mapping[str, Mapping[str, Sequence[Point]]]
    headline: str


def methods(study: Study, tested: str) -> list[Method]:
    """Lists all methods to try on a city: encoders first, then the baselines."""
    others = tuple(name for name in study.names if name != tested)
    roles = encoders_lib.roles(study.names, tested, study.settings.num_cities)
    tried = []
    for role, trained in roles.items():
        teachers = {
            encoders_lib.ALL: others,
            encoders_lib.OWN: (),
        }.get(role, trained.cities)
        for kind in study.eval_settings.features:
            tried.append(
                Method(
                    f"{role} {kind}",
                    {
                        name: study.library.features(trained, name, kind)
                        for name in (*teachers, tested)
                    },
                    teachers,
                    few=role == encoders_lib.UNSEEN,
                )
            )
    for name in study.eval_settings.baselines:
        if name == "random encoder":
            features = {
                city: study.library.features(RANDOM, city, "image")
                for city in study.names
            }
            tried.append(Method("random image", features, others))
        elif name in ("image statistics", "poi counts", "statistics and counts"):
            features = {
                city: study.library.baseline(name, city) for city in study.names
            }
            few = name == "statistics and counts"
            tried.append(Method(name, features, others, few=few))
        elif name == "mean":
            nothing = {
                city: Features.of("nothing", np.zeros((len(one.split.fold), 1)))
                for city, one in study.cities.items()
            }
            tried.append(Method("mean", nothing, others, constant=True))
    return tried


def run(study: Study, tested: str) -> dict[str, CityResult]:
    """Tests a city by all methods. Returns label -> result."""
    tried = methods(study, tested)
    judges = {name: _judge(study, tested, name) for name in study.targets}
    before = _carried(study, tested, tried)
    results: dict[str, dict[str, dict[str, Result]]] = {
        name: {OTHERS: {}, OWN: {}} for name in study.targets
    }
    predictions: dict[tuple[str, str], np.ndarray] = {}
    for (label, method), fits in before:
        predictions[label, method.name] = fits.prediction[0]
        results[label][OTHERS][method.name] = judges[label].result(
            fits.prediction[0], tuple(fits.chosen), constant=method.constant
        )
    for (label, method), cells, fits in _within(study, tested, tried):
        results[label][OWN][method.name] = judges[label].result(
            fits.out_of_fold(cells), tuple(fits.chosen), constant=method.constant
        )
    points = _few(study, tested, tried, judges, predictions, results)
    return {
        label: CityResult(results[label], points[label], headline(study, label))
        for label in study.targets
    }


def headline(study: Study, label: str) -> str:
    """Returns the main metric, such as R2 of logarithms if no value is negative."""
    by_city = study.targets[label]
    first = next(iter(by_city.values()))
    if first.label.classes:
        return {"share": "l1", "class": "macro_f1"}[first.label.kind]
    return "r2_log" if all(one.log for one in by_city.values()) else "r2"


def joined_target(study: Study, label: str, cities: Sequence[str]) -> Target:
    """Joins a label of several cities, one city after another."""
    parts = [study.targets[label][city] for city in cities]
    values = np.concatenate([part.values for part in parts])
    return targets.check(label, parts[0].label, values, len(values))


def carried_job(
    study: Study, label: str, method: Method, teachers: Sequence[str], tested: str
) -> Job:
    """Returns the job for a head of some cities that predicts another city."""
    cities = [*teachers, tested]
    target = joined_target(study, label, cities)
    splits = [study.cities[city].split for city in cities]
    by_city = study.settings.standardise == "city" and not method.constant
    return Job(
        "linear",
        side_by_side([method.features[city] for city in cities], by_city=by_city),
        target,
        heads.grid_of_others(
            [len(split.fold) for split in splits],
            np.concatenate([split.fold for split in splits]),
            target.known,
            is_number=target.is_number,
        ),
        study.eval_settings,
    )


def own_job(study: Study, label: str, method: Method, tested: str) -> Job:
    """Returns the job for heads of the city itself, tested on its other blocks."""
    target, split = study.targets[label][tested], study.cities[tested].split
    cells = grid_lib.cells(split, target.known, fractions=(1.0,)).predicting()
    if target.is_number:
        cells = cells.with_folds_as_parts(split.fold)
    return Job("linear", method.features[tested], target, cells, study.eval_settings)


def _judge(study: Study, tested: str, label: str) -> Judge:
    one = study.cities[tested]
    certainty = Certainty(
        block=one.city.regions.block_id,
        settings=study.eval_settings.certainty,
        centre_m=one.city.centre_m,
    )
    return Judge(study.targets[label][tested], one.split.fold, certainty)


def _carried(
    study: Study, tested: str, tried: Sequence[Method]
) -> Iterator[tuple[tuple[str, Method], Fits]]:
    keys = [(label, one) for label in study.targets for one in tried if one.teachers]
    wanted = [
        carried_job(study, label, one, one.teachers, tested) for label, one in keys
    ]
    progress = WorkProgress("heads of other cities", [job.seconds for job in wanted])
    for (label, one), fits in zip(keys, jobs.fit_all(wanted), strict=True):
        yield (label, one), fits
        progress.step(f"{label}, {one.name}")


def _within(
    study: Study, tested: str, tried: Sequence[Method]
) -> Iterator[tuple[tuple[str, Method], grid_lib.Grid, Fits]]:
    keys = [(label, one) for label in study.targets for one in tried]
    wanted = [own_job(study, label, one, tested) for label, one in keys]
    progress = WorkProgress("heads of its own", [job.seconds for job in wanted])
    fitted = jobs.fit_all(wanted)
    for (label, one), job, fits in zip(keys, wanted, fitted, strict=True):
        yield (label, one), job.grid, fits
        progress.step(f"{label}, {one.name}")


def _few(
    study: Study,
    tested: str,
    tried: Sequence[Method],
    judges: Mapping[str, Judge],
    predictions: Mapping[tuple[str, str], np.ndarray],
    results: Mapping[str, Mapping[str, Mapping[str, Result]]],
) -> dict[str, dict[str, dict[str, list[Point]]]]:
    """The points of few labels: label -> method -> how they are used -> points."""
    split = study.cities[tested].split
    points: dict[str, dict[str, dict[str, list[Point]]]] = {}
    work: list[tuple[str, Method, str, grid_lib.Grid, heads.Missed, list[Job]]] = []
    for label, by_city in study.targets.items():
        target = by_city[tested]
        grids = [
            grid_lib.few(
                split, target.known, num_labels=number,
                seeds=range(study.settings.num_draws),
            )
            for number in sorted(set(study.settings.num_labels))
        ]  # fmt: skip
        for one in (method for method in tried if method.few):
            points.setdefault(label, {})[one.name] = {ADAPTED: [], ALONE: []}
            missed = heads.Missed(target, predictions[label, one.name])
            for cells in (cells.predicting() for cells in grids if cells is not None):
                for use, wanted in ((ADAPTED, missed.targets()), (ALONE, [target])):
                    each = [
                        Job("linear", one.features[tested], part, cells,
                            study.eval_settings)
                        for part in wanted
                    ]  # fmt: skip
                    work.append((label, one, use, cells, missed, each))
    sizes = [sum(job.seconds for job in each) for *_, each in work]
    progress = WorkProgress("few labels", sizes)
    fitted = jobs.fit_all([job for *_, each in work for job in each])
    for label, one, use, cells, missed, each in work:
        fits = [next(fitted) for _ in each]
        judge, full = judges[label], results[label][OWN][one.name]
        drawn = [
            missed.added(cells, fits, seed=seed)
            if use == ADAPTED
            else fits[0].out_of_fold(cells, fraction=None, seed=seed)
            for seed in range(study.settings.num_draws)
        ]
        measured = [judge.measure(each, judge.target.known) for each in drawn]
        number = float((cells.train | cells.validation).sum(axis=1).mean())
        points[label][one.name][use].append(
            curves.point(None, number, measured, judge.resampled(drawn), full)
        )
        progress.step(f"{label}, {one.name}, {number:.0f} labels, {use}")
    return {label: points.get(label, {}) for label in study.targets}
