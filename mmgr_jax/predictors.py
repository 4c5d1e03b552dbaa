"""Heads as an evaluation leaves them, with which `mmgr_jax.embed` predicts.

<workdir>/eval/heads/
  about.json                 the checkpoint, the records, the split
  <task>/<features>/fold_0 ...   the head that has not seen fold 0, and so on
                    whole    one for regions of no fold
                    certainty.npz   radius of the intervals, likeness to training
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mmgr_jax import files, folders, marks, provenance, refusals, stored_heads
from mmgr_jax.data import schema
from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.evaluators import applicability, conformal, scores
from mmgr_jax.evaluators.groups import Features
from mmgr_jax.evaluators.results import Kept, Task
from mmgr_jax.evaluators.targets import Target
from mmgr_jax.feature_sets import City

FOLDER = KIND = "heads"
BEFORE_READOUTS = {"image": "pooled", "surroundings_m": [], "groups": "columns"}
"""What heads read that were stored before they said it."""

LEVEL = 0.9
"""Of the intervals on maps."""

_ABOUT = "about.json"
_CERTAINTY = "certainty.npz"


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What is said of some regions.

    Attributes:
        value: [r] in the label's unit, or [r k] shares or probabilities.
        low: Lower end of the interval, [r] or [r k]; NaN for classes, minus infinity
            where nothing can be promised.
        high: Upper end.
        unlike: Regions unlike those the heads were tested on: value and interval are
            a guess there, [r].
    """

    value: Float[np.ndarray, "r ..."]
    low: Float[np.ndarray, "r ..."]
    high: Float[np.ndarray, "r ..."]
    unlike: Bool[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True)
class Predictor:
    """The heads of one task on one kind of features.

    Attributes:
        kept: The heads.
        radius: Of intervals of level `LEVEL`: a number, or one for each class [k].
        log_scale: Scale of the logarithms that the radius is of; None for none.
        likeness: What the labelled regions are like.
        training_fold: Their folds [t].
    """

    kept: Kept
    radius: Float[np.ndarray, " *k"]
    log_scale: float | None
    likeness: applicability.Applicability
    training_fold: Int[np.ndarray, " t"]

    @property
    def label(self) -> Label:
        """What is predicted."""
        return self.kept.whole.label

    def predict(
        self,
        features: Float[np.ndarray, "r f"],
        fold: Int[np.ndarray, " r"] | None = None,
    ) -> Prediction:
        """Predicts every region.

        Args:
            features: Of the kind that the heads were trained on.
            fold: Fold of each region in the evaluation: each is then predicted by the
                head that has not seen it. None for regions that no head has seen.
        """
        if fold is None:
            value = self.kept.whole.predict(features)
            unlike = self.likeness.outside(features)
        else:
            value, unlike = self._out_of_fold(features, fold)
        low, high = self._limits(value)
        return Prediction(value, low, high, unlike)

    def _out_of_fold(
        self, features: np.ndarray, fold: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        value, unlike = None, np.zeros(len(features), bool)
        for head in self.kept.of_folds:
            rows = fold == head.cell.fold
            if not rows.any():
                continue
            said = head.predict(features[rows])
            if value is None:
                value = np.full((len(features), *said.shape[1:]), np.nan)
            value[rows] = said
            others = dataclasses.replace(
                self.likeness,
                training=self.likeness.training[self.training_fold != head.cell.fold],
            )
            unlike[rows] = others.outside(features[rows])
        return value, unlike

    def _limits(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.label.kind == "share":
            return conformal.share_bands(value, self.radius)
        if self.label.kind == "class":
            nothing = np.full(len(value), np.nan)
            return nothing, nothing
        return conformal.number_interval(
            value, float(self.radius), log_scale=self.log_scale
        )


def of_task(
    task: Task,
    target: Target,
    method: str,
    features: Features,
    block: Int[np.ndarray, " r"],
    fold: Int[np.ndarray, " r"],
) -> Predictor:
    """The predictor that an evaluation found.

    Args:
        task: The results of a label.
        target: Its values.
        method: Whose heads.
        features: Features of all regions.
        block: Spatial block of each region [r].
        fold: Its fold under the first split [r].
    """
    known = target.known
    said = task.main[method].prediction
    missed = scores.conformal_scores(target, said)[known]
    return Predictor(
        kept=task.kept[method],
        radius=np.asarray(conformal.radius(missed, block[known], level=LEVEL)),
        log_scale=scores.log_scale(target),
        likeness=applicability.fit(
            features.values[known], fold[known], weight=features.weights()
        ),
        training_fold=fold[known],
    )


def save(
    folder: Path,
    predictors: Mapping[str, Mapping[str, Predictor]],
    city: City,
    checkpoint: Path,
    readout: Mapping[str, Any],
) -> None:
    """Writes heads in place of older ones, which stay until these are whole.

    Args:
        folder: To write.
        predictors: Task -> kind of features -> predictor.
        city: Whose labels the heads have learnt.
        checkpoint: Whose features they read.
        readout: And how: `config.readout`.
    """
    with folders.replacing(
        folder, KIND, key="config.workdir", known=_as_before_marks, sums=True
    ) as new:
        _write(new, predictors, city, checkpoint, readout)


def _write(
    folder: Path,
    predictors: Mapping[str, Mapping[str, Predictor]],
    city: City,
    checkpoint: Path,
    readout: Mapping[str, Any],
) -> None:
    for task, kinds in predictors.items():
        for kind, of in kinds.items():
            place = _place(folder, task, kind)
            for head in of.kept.of_folds:
                stored_heads.save_head(place / f"fold_{head.cell.fold}", head)
            stored_heads.save_head(place / "whole", of.kept.whole)
            _save_certainty(place / _CERTAINTY, of)
    about = {
        "sealed": True,
        "checkpoint": str(checkpoint),
        "readout": _written(readout),
        "records": records_hash(city),
        "city": city.source.manifest.city,
        "tasks": {task: list(kinds) for task, kinds in predictors.items()},
    }
    (folder / _ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def load(
    folder: Path,
    kind: str,
    *,
    checkpoint: Path,
    readout: Mapping[str, Any],
    tasks: Sequence[str] = (),
) -> tuple[dict[str, Predictor], str]:
    """The predictors of a kind of features.

    Args:
        folder: As written by `save`.
        kind: Of features.
        checkpoint: Whose features they will be given.
        readout: And how they are read: `config.readout`.
        tasks: Which; empty for all.

    Returns:
        Task -> predictor, and the hash of the records they have learnt from.

    Raises:
        InputError: If there are none, or they are of another checkpoint or readout.
    """
    if not exists(folder):
        raise InputError(
            f"{folder}: no heads here. Train them with "
            "`python -m mmgr_jax.eval --config=...`."
        )
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    if about["checkpoint"] != str(checkpoint):
        raise InputError(
            f"{folder}: these heads read features of {about['checkpoint']}, not of "
            f"{checkpoint}. Evaluate this checkpoint first (`python -m mmgr_jax.eval "
            "--config=... --checkpoint=...`), or name the other."
        )
    stored = BEFORE_READOUTS | about.get("readout", {})
    differing = [
        f"readout.{key}: {stored.get(key)!r} there, {value!r} here"
        for key, value in _written(readout).items()
        if stored.get(key) != value
    ]
    if differing:
        raise InputError(
            f"{folder}: these heads read other features ({'; '.join(differing)}). Set "
            "config.readout as it was, or evaluate again (`python -m mmgr_jax.eval "
            "--config=...`)."
        )
    found = {}
    for task in tasks or about["tasks"]:
        if kind not in about["tasks"].get(task, ()):
            raise InputError(
                f"{folder}: no head predicts {task} from features {kind!r}; there are "
                f"{about['tasks']}. Evaluate with config.eval.tasks and "
                "config.eval.features that hold them."
            )
        found[task] = _load(_place(folder, task, kind))
    return found, about["records"]


def exists(folder: Path) -> bool:
    """Whether an evaluation has left whole heads here."""
    return (folder / _ABOUT).exists() or (folder / marks.MARK).exists()


def records_hash(city: City) -> str:
    """Tells one set of records from another."""
    return provenance.sha256(city.source.records_dir / schema.MANIFEST_FILE)


def _about(folder: Path) -> dict[str, Any]:
    """What undamaged heads say of themselves.

    Raises:
        InputError: If they are damaged, or cannot be read.
    """
    try:
        sealed = marks.verify(folder, KIND)
        about = json.loads((folder / _ABOUT).read_bytes())
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
        about = json.loads((folder / _ABOUT).read_bytes())
        if about["checkpoint"] and about["records"]:
            return (_ABOUT, *about["tasks"])
    return ()


def _written(readout: Mapping[str, Any]) -> dict[str, Any]:
    """The readout as JSON gives it back."""
    return json.loads(json.dumps(dict(readout)))


def _place(folder: Path, task: str, kind: str) -> Path:
    """Where the heads of a task lie, whatever it is called."""
    return folder / files.safe_name(task) / files.safe_name(kind)


def _load(place: Path) -> Predictor:
    heads = stored_heads.load_heads(place)
    whole = heads.pop("whole")
    of_folds = sorted(heads.values(), key=lambda head: head.cell.fold)
    with np.load(place / _CERTAINTY) as stored:
        log_scale = float(stored["log_scale"])
        return Predictor(
            kept=Kept(tuple(of_folds), whole),
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


def _save_certainty(path: Path, of: Predictor) -> None:
    likeness = {
        field.name: getattr(of.likeness, field.name)
        for field in dataclasses.fields(of.likeness)
    }
    np.savez(
        path,
        radius=of.radius,
        log_scale=np.nan if of.log_scale is None else of.log_scale,
        training_fold=of.training_fold,
        **likeness,
    )
