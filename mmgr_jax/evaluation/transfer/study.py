"""Opens the cities of a study, with the labels that they share."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax.data.schema import Label
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import cities as cities_lib
from mmgr_jax.evaluation import run as evaluation
from mmgr_jax.evaluation.design import targets
from mmgr_jax.evaluation.readouts import EvaluatedCity
from mmgr_jax.evaluation.settings import EvalSettings
from mmgr_jax.evaluation.transfer.library import Library
from mmgr_jax.evaluation.transfer.settings import TransferSettings
from mmgr_jax.evaluation.transfer.trial import StudiedCity, Study

log = logging.getLogger(__name__)


def open_study(
    config: ConfigDict,
    settings: TransferSettings,
    eval_settings: EvalSettings,
    sources: Mapping[str, RecordSource],
) -> Study:
    """Opens the study of some cities; their encoders are already trained.

    Args:
        config: A config like configs/transfer.py.
        settings: Its section `transfer`.
        eval_settings: Its section `eval`.
        sources: Name of the city -> its records.

    Raises:
        InputError: If the cities share no label, or a factor names no city of them.
    """
    cities = {name: EvaluatedCity.of(sources[name]) for name in sorted(sources)}
    cities_lib.tell_of_rare_categories(list(cities.values()))
    studied = {
        name: StudiedCity(
            city,
            next(
                iter(
                    evaluation.choose_splits(
                        eval_settings, city.source, city.regions, ("block",)
                    ).values()
                )
            ),
        )
        for name, city in cities.items()
    }
    return Study(
        studied,
        shared_targets(
            {
                name: dict(evaluation.labelled(city.source, city.regions))
                for name, city in cities.items()
            },
            settings,
            eval_settings,
        ),
        Library(config, Path(config.workdir), cities),
        settings,
        eval_settings,
    )


def shared_targets(
    labelled: Mapping[str, Mapping[str, tuple[Label, np.ndarray]]],
    settings: TransferSettings,
    eval_settings: EvalSettings,
) -> dict[str, dict[str, targets.Target]]:
    """Returns labels with the same meaning in all cities, with factors applied.

    Args:
        labelled: City -> label -> (meaning, values).
        settings: The factors, and whether years must be equal.
        eval_settings: The wanted labels; () for all.

    Returns:
        Label -> city -> target.

    Raises:
        InputError: If no label is shared, a wanted label is not shared, or a factor
            names nothing that exists or a label that is not a number.
    """
    labelled = {name: dict(own) for name, own in labelled.items()}
    for city, label, factor in settings.factors:
        if label not in labelled.get(city, {}):
            raise InputError(
                f"config.transfer.factors names label {label!r} of {city!r}; the "
                f"cities are {', '.join(labelled)}, and the labels of the first "
                f"{', '.join(next(iter(labelled.values())))}."
            )
        labelled[city][label] = _converted(labelled, city, label, factor)
    meaning = (*cities_lib.MEANING, *(["year"] if settings.years == "same" else []))
    names = cities_lib.shared_names(
        list(labelled.values()), meaning, "config.corpus.records"
    )
    if missing := sorted(set(eval_settings.tasks) - set(names)):
        raise InputError(
            f"config.eval.tasks names {', '.join(missing)}, which the cities do not "
            f"have with one {', '.join(meaning)}; they share {', '.join(names)}. "
            "config.transfer.factors converts units, config.transfer.years='any' "
            "takes any year."
        )
    return {
        name: {
            city: targets.check(name, *own[name], len(own[name][1]))
            for city, own in labelled.items()
        }
        for name in eval_settings.tasks or names
    }


def _converted(
    labelled: Mapping[str, Mapping[str, tuple[Label, np.ndarray]]],
    city: str,
    label: str,
    factor: float,
) -> tuple[Label, np.ndarray]:
    """A label in the unit that it has in the first other city."""
    meaning, values = labelled[city][label]
    if meaning.classes:
        raise InputError(
            f"config.transfer.factors: {label} of {city} is a {meaning.kind}, which no "
            "factor converts."
        )
    others = [own[label][0] for name, own in labelled.items()
              if name != city and label in own]  # fmt: skip
    unit = others[0].unit if others else meaning.unit
    log.info("%s: %s in %s = %g x %s", city, label, unit, factor, meaning.unit)
    return dataclasses.replace(meaning, unit=unit), values * factor
