"""Tests each of several cities by heads of the others, together and one by one."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax.evaluation import cities as cities_lib
from mmgr_jax.evaluation import feature_sets
from mmgr_jax.evaluation.design import grid, targets
from mmgr_jax.evaluation.design.splits import Split, by_city
from mmgr_jax.evaluation.feature_sets import EvaluatedCity
from mmgr_jax.evaluation.heads import jobs, protocols
from mmgr_jax.evaluation.inference_encoder import InferenceEncoder
from mmgr_jax.evaluation.settings import EvalSettings
from mmgr_jax.evaluation.trials import tasks
from mmgr_jax.evaluation.trials.results import Report
from mmgr_jax.evaluation.trials.scores import Certainty, Judge
from mmgr_jax.report import report, report_json

SHARED = (
    "mean", "image statistics", "poi counts", "statistics and counts", "random encoder",
)  # fmt: skip
"""Baselines that mean the same in every city."""

log = logging.getLogger(__name__)

APART_M = 1e7
"""Cities are laid this far apart, so that no region neighbours one of another."""


def compare(
    config: ConfigDict,
    eval_settings: EvalSettings,
    encoders: Mapping[str, InferenceEncoder],
    home: EvaluatedCity,
    others: Sequence[EvaluatedCity],
    splits: Sequence[Split],
) -> tuple[dict[str, Any], str]:
    """Tests each city by heads of all others, and by heads of each single city.

    The encoder has seen the tiles and POIs of the home city, but no labels.

    Args:
        config: A config like those in configs/.
        eval_settings: How the home city is evaluated.
        encoders: Encoders of the home city's evaluation.
        home: The city of the checkpoint.
        others: The other cities.
        splits: The block split of each city, home first.

    Returns:
        The section `cities` of report.json, and a table.

    Raises:
        InputError: If the cities share no label.
    """
    cities_lib.tell_of_rare_categories([home, *others])
    cities = cities_lib.alike([home, *others])
    _tell_of_shared_regions(cities)
    sources = [city.source for city in cities]
    shared = dataclasses.replace(
        eval_settings,
        baselines=tuple(one for one in eval_settings.baselines if one in SHARED),
        tables=(),  # ids of regions may be the same in another city
        protocols=tuple(p for p in eval_settings.protocols if p != "finetune")
        or ("linear",),
    )
    parts = [feature_sets.gather(config, shared, encoders, city) for city in cities]
    methods = cities_lib.joined([part.methods for part in parts])
    labels = cities_lib.shared_labels([_labelled(city) for city in cities])
    evaluated = tasks.evaluate(
        methods,
        labels,
        {"city": by_city([split.fold for split in splits])},
        dataclasses.replace(
            shared, tasks=tuple(name for name in eval_settings.tasks if name in labels)
        ),
        certainty=_certainty(eval_settings, cities),
    )
    references = {m: [o for o in methods if o != m] for m in parts[0].own}
    carried = [m for name in encoders for m in methods if m.startswith(f"{name} ")]
    section = {
        "names": [source.manifest.city for source in sources],
        **report_json.report_json(evaluated, references=references),
        "transfer": _transfer(shared, evaluated, carried, methods, labels, splits),
    }
    return section, report.table(evaluated, references=references)


def _tell_of_shared_regions(cities: Sequence[EvaluatedCity]) -> None:
    """Says so where two cities hold the same regions, whatever their folders."""
    for first, second in itertools.combinations(cities, 2):
        shared = int(np.isin(second.outlines, first.outlines).sum())
        if shared and first.centre_m is not None:
            log.warning(
                "%s holds %d of the regions of %s: heads of one city have seen "
                "regions that they are tested on in the other.",
                second.source.records_dir,
                shared,
                first.source.records_dir,
            )


def _labelled(city: EvaluatedCity) -> cities_lib.Labels:
    known = city.source.manifest.labels
    return {name: (known[name], values) for name, values in city.regions.labels.items()}


def _certainty(
    eval_settings: EvalSettings, cities: Sequence[EvaluatedCity]
) -> Certainty:
    """Blocks and places of all cities, none of which meet."""
    blocks, last = [], 0
    for city in cities:
        _, member = np.unique(city.regions.block_id, return_inverse=True)
        blocks.append(member + last)
        last += member.max() + 1
    centre_m = None
    centres_m = [city.centre_m for city in cities if city.centre_m is not None]
    if len(centres_m) == len(cities):
        centre_m = np.concatenate(
            [places_m + index * APART_M for index, places_m in enumerate(centres_m)]
        )
    return Certainty(
        block=np.concatenate(blocks),
        settings=eval_settings.certainty,
        centre_m=centre_m,
    )


def _transfer(
    eval_settings: EvalSettings,
    evaluated: Report,
    carried: Sequence[str],
    methods: Mapping[str, jobs.Method],
    labels: cities_lib.Labels,
    splits: Sequence[Split],
) -> dict[str, dict[str, list[list[float | None]]]]:
    """The headline metric as `[task][method][trained on][tested on]`.

    On the diagonal, blocks of a city are tested by heads of its other blocks.
    """
    city = np.repeat(np.arange(len(splits)), [len(split.fold) for split in splits])
    protocol = eval_settings.protocols[0]
    checked = {
        name: targets.check(name, *labels[name], len(city)) for name in evaluated.tasks
    }
    cells = {
        name: _cells(splits, city, target.known) for name, target in checked.items()
    }
    fitted = jobs.fit_all(
        [
            jobs.Job(protocol, methods[method], target, cells[name], eval_settings)
            for name, target in checked.items()
            for method in carried
        ]
    )
    matrices: dict[str, dict[str, list[list[float | None]]]] = {}
    for name, target in checked.items():
        judge = Judge(target, city, None)
        for method in carried:
            fits = next(fitted)
            within = _within(fits, cells[name], len(splits))
            matrices.setdefault(name, {})[method] = [
                [
                    report_json.number(
                        judge.measure(
                            within if a == b else fits.prediction[a],
                            (city == b) & target.known,
                        )[evaluated.tasks[name].headline]
                    )
                    for b in range(len(splits))
                ]
                for a in range(len(splits))
            ]
    return matrices


def _cells(splits: Sequence[Split], city: np.ndarray, known: np.ndarray) -> grid.Grid:
    """A cell for each city, whose fold 0 chooses; then one for each fold of each."""
    cells, train, validation, test = [], [], [], []
    for index, split in enumerate(splits):
        own = city == index
        chooses = np.zeros_like(known)
        chooses[own] = split.fold == 0
        cells.append(grid.Cell(grid.NO_FOLD, 1.0, index))
        train.append(own & ~chooses & known)
        validation.append(chooses & known)
        test.append(~own)
    for index, split in enumerate(splits):
        for fold in range(split.num_folds):
            roles = np.zeros((3, len(known)), bool)
            roles[:, city == index] = split.parts(fold)
            cells.append(grid.Cell(fold, 1.0, index))
            train.append(roles[0] & known)
            validation.append(roles[1] & known)
            test.append(roles[2])
    return grid.Grid(
        tuple(cells), np.stack(train), np.stack(validation), np.stack(test)
    )


def _within(fits: protocols.Fits, cells: grid.Grid, num_cities: int) -> np.ndarray:
    """Every region by the heads of its own city that have not seen it."""
    within = np.full_like(fits.prediction[0], np.nan)
    for index in range(num_cities, len(cells.cells)):
        rows = cells.test[index]
        within[rows] = fits.prediction[index][rows]
    return within
