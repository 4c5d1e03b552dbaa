"""Heads that an evaluation stores and `mmgr_jax.embed` uses for predictions.

<workdir>/eval/heads/
  about.json                 the features they read and the records they learnt from, by
                             content; the folder may be moved with its run, or alone
  folds.npz                  the fold of each region, by the hash of its outline
  <task>/<features>/fold_0.head.npz   the head that has not seen fold 0, and so on
                    whole.head.npz    one for regions without a fold
                    certainty.npz   radius of the intervals, similarity to training
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int, UInt64

from mmgr_jax.data import contents
from mmgr_jax.disk import files, folders, marks, refusals
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import applicability
from mmgr_jax.evaluation.feature_sets import EvaluatedCity
from mmgr_jax.evaluation.heads import stored_heads
from mmgr_jax.evaluation.predictors import UNSEEN, Predictor
from mmgr_jax.evaluation.settings import Kind

FOLDER = KIND = "heads"
BEST = "best"
"""Used instead of a kind of features: the kind that predicts each task best."""

_ABOUT = "about.json"
_FOLDS = "folds.npz"
_CERTAINTY = "certainty.npz"
_LEARNT_FROM = ("regions", "labels", "splits")
_AGAIN = "Evaluate again (`python -m mmgr_jax.eval --config=...`)"


@dataclasses.dataclass(frozen=True)
class Heads:
    """The predictors of one kind of features, and the regions they have seen.

    Attributes:
        predictors: Task -> predictor.
        kinds: Task -> the kind of features that its predictor reads.
        records: `RecordSource.identity` of the records used for training.
        outline: Hash of the outline of each region in these records [r], sorted.
        fold: Fold of each of these regions [r].
    """

    predictors: Mapping[str, Predictor]
    kinds: Mapping[str, Kind]
    records: Mapping[str, str]
    outline: UInt64[np.ndarray, " r"]
    fold: Int[np.ndarray, " r"]

    def fold_of(self, city: EvaluatedCity) -> Int[np.ndarray, " r"] | None:
        """Returns the fold of each region of a city; None if heads have seen none.

        Regions are recognised by their outlines. So they stay the same if records are
        moved, built again or extended, and regions of another city are different.
        """
        wanted = city.outlines
        place = np.minimum(np.searchsorted(self.outline, wanted), len(self.outline) - 1)
        seen = self.outline[place] == wanted
        return np.where(seen, self.fold[place], UNSEEN) if seen.any() else None

    def refuse_stale(self, city: EvaluatedCity, folder: Path) -> None:
        """Raises InputError if records of regions that the heads have seen changed.

        Args:
            city: City whose regions will be predicted.
            folder: Folder of the heads, for the message.
        """
        now = city.source.identity
        other = [part for part in _LEARNT_FROM if now[part] != self.records.get(part)]
        if other and self.fold_of(city) is not None:
            raise InputError(
                f"{folder}: these heads have learnt from these regions as they were "
                f"before the records changed ({', '.join(other)}). {_AGAIN}."
            )


def save(
    folder: Path,
    predictors: Mapping[str, Mapping[str, Predictor]],
    city: EvaluatedCity,
    *,
    fold: Int[np.ndarray, " r"],
    features: Mapping[str, Any],
    checkpoint: Path,
    best: Mapping[str, Kind],
) -> None:
    """Writes heads; older heads are replaced only when the new ones are complete.

    Args:
        folder: Folder to write.
        predictors: Task -> kind of features -> predictor.
        city: City whose labels the heads have learnt.
        fold: Fold of each region [r], under the split of these heads.
        features: Identity of the features that heads read: `identity.of_features`.
        checkpoint: Path of the encoder's weights, for messages.
        best: Task -> the kind of features that predicts it best.
    """
    with folders.replacing(
        folder, KIND, key="config.workdir", known=_as_before_marks, sums=True
    ) as new:
        for task, kinds in predictors.items():
            for kind, predictor in kinds.items():
                place = _place(new, task, kind)
                for number, head in predictor.heads.items():
                    name = "whole" if number == UNSEEN else f"fold_{number}"
                    stored_heads.save_head(place, name, head)
                _save_certainty(place / _CERTAINTY, predictor)
        outline, first = np.unique(city.outlines, return_index=True)
        np.savez(new / _FOLDS, outline=outline, fold=fold[first])
        about = {
            "sealed": True,
            "checkpoint": contents.relative(checkpoint, folder),
            "features": dict(features),
            "records": dict(city.source.identity),
            "city": city.source.manifest.city,
            "tasks": {task: list(kinds) for task, kinds in predictors.items()},
            "best": dict(best),
        }
        text = json.dumps(about, indent=1) + "\n"
        (new / _ABOUT).write_text(text, encoding="utf-8")


def load(
    folder: Path,
    kind: Kind | Literal["best"],
    *,
    features: Mapping[str, Any],
    tasks: Sequence[str] = (),
) -> Heads:
    """Loads the predictors of a kind of features, or of the best kind for each task.

    Args:
        folder: Folder that `save` wrote; it may have been moved.
        kind: Kind of features; `BEST` for the kind that predicts a task best.
        features: Identity of the features to predict from: `identity.of_features`.
        tasks: Names of the tasks; empty for all.

    Raises:
        InputError: If there are no heads, they are damaged, or they read other
            features: from other weights, another readout, size or precision.
    """
    if not exists(folder):
        raise InputError(
            f"{folder}: no heads here. Train them with "
            "`python -m mmgr_jax.eval --config=...`."
        )
    about = _about(folder)
    _refuse_other_features(folder, about, features)
    predictors, kinds = {}, {}
    for task in tasks or about["tasks"]:
        kinds[task] = own = _best(folder, about, task) if kind == BEST else kind
        if own not in about["tasks"].get(task, ()):
            raise InputError(
                f"{folder}: no head predicts {task} from features {own!r}; there are "
                f"{about['tasks']}. Evaluate with config.eval.tasks and "
                "config.eval.features that hold them."
            )
        predictors[task] = _load(_place(folder, task, own))
    with np.load(folder / _FOLDS) as stored:
        outline, fold = stored["outline"], stored["fold"]
    return Heads(predictors, kinds, about["records"], outline, fold)


def _best(folder: Path, about: Mapping[str, Any], task: str) -> Kind:
    """The kind of features that predicts a task best.

    Raises:
        InputError: If heads of an earlier version do not say it, or have no such task.
    """
    best = about.get("best", {})
    if task not in best:
        raise InputError(
            f"{folder}: these heads do not say which features predict {task!r} best; "
            f"they know {about['tasks']}. Choose a kind by config.embed.predict_from, "
            "or evaluate again (`python -m mmgr_jax.eval --config=...`)."
        )
    return best[task]


def exists(folder: Path) -> bool:
    """Returns whether the folder contains complete heads of an evaluation."""
    return (folder / _ABOUT).exists() or (folder / marks.MARK).exists()


def _refuse_other_features(
    folder: Path, about: Mapping[str, Any], features: Mapping[str, Any]
) -> None:
    stored = about.get("features")
    if stored is None:
        raise InputError(
            f"{folder}: heads of an earlier version, which name the place of their "
            f"checkpoint ({about['checkpoint']}) and not its weights. {_AGAIN}."
        )
    if stored["weights"] != features["weights"]:
        raise InputError(
            f"{folder}: these heads read features of other weights "
            f"({stored['weights'][:12]}, then in {about['checkpoint']}) than this "
            f"checkpoint holds ({features['weights'][:12]}). Evaluate this checkpoint "
            "first (`python -m mmgr_jax.eval --config=... --checkpoint=...`), or name "
            "the other."
        )
    differing = [
        f"{key}: {stored.get(key)!r} there, {features.get(key)!r} here"
        for key in sorted(stored.keys() | features.keys())
        if stored.get(key) != features.get(key)
    ]
    if differing:
        raise InputError(
            f"{folder}: these heads read other features ({'; '.join(differing)}). Set "
            "the config as it was, or evaluate again (`python -m mmgr_jax.eval "
            "--config=...`)."
        )


def _about(folder: Path) -> dict[str, Any]:
    """What undamaged heads say of themselves.

    Raises:
        InputError: If they are damaged, or cannot be read.
    """
    try:
        sealed = marks.verify(folder, KIND)
        about = files.from_json((folder / _ABOUT).read_bytes())
        _ = about["checkpoint"], about["records"], dict(about["tasks"])
        if about.get("sealed") and not sealed:
            raise marks.DamageError(f"{marks.MARK} is missing")
    except OSError as error:
        raise refusals.unreadable(folder / _ABOUT, error) from error
    except (ValueError, KeyError, TypeError, marks.DamageError) as error:
        if isinstance(error, InputError):
            raise
        damage = error if isinstance(error, marks.DamageError) else f"{_ABOUT} is torn"
        raise InputError(
            f"{folder}: these heads are damaged ({damage}). Train them again with "
            "`python -m mmgr_jax.eval --config=...`."
        ) from error
    return about


def _as_before_marks(folder: Path) -> Sequence[str]:
    """What is ours in a folder of heads that an earlier version left."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        about = files.from_json((folder / _ABOUT).read_bytes())
        if about["checkpoint"] and about["records"]:
            return (_ABOUT, *about["tasks"])
    return ()


def _place(folder: Path, task: str, kind: str) -> Path:
    """Where the heads of a task lie, whatever it is called."""
    return folder / files.safe_name(task) / files.safe_name(kind)


def _load(place: Path) -> Predictor:
    heads = stored_heads.load_heads(place)
    by_fold = {
        UNSEEN if name == "whole" else head.cell.fold: head
        for name, head in heads.items()
    }
    with np.load(place / _CERTAINTY) as stored:
        log_scale = float(stored["log_scale"])
        return Predictor(
            heads=by_fold,
            radius=stored["radius"],
            log_scale=None if np.isnan(log_scale) else log_scale,
            likeness=applicability.Applicability(
                mean=stored["mean"],
                factor=stored["factor"],
                training=stored["training"],
                mean_distance=float(stored["mean_distance"]),
                threshold=float(stored["threshold"]),
            ),
            training_fold=stored["training_fold"],
        )


def _save_certainty(path: Path, predictor: Predictor) -> None:
    likeness = {
        field.name: getattr(predictor.likeness, field.name)
        for field in dataclasses.fields(predictor.likeness)
    }
    np.savez(
        path,
        radius=predictor.radius,
        log_scale=np.nan if predictor.log_scale is None else predictor.log_scale,
        training_fold=predictor.training_fold,
        **likeness,
    )
