"""Decides with which settings and records a run may continue from a checkpoint.

A run continues only with what its weights were trained with. If a setting has changed,
it is either refused, with both values, or allowed and written into the history of every
later checkpoint. A setting that is not listed is refused. Paths are not compared: a run
that was moved or copied continues.

    refused     seed, data, corpus, augment, model, init, loss, optim and train,
                except the settings that are allowed
    allowed     the settings of `FREE`, for the reason given there
    by content  compared by hash: records (tiles, POIs, categories in order, their
                vectors), for a corpus those of each city and its weight; what pixels
                are normalised by; a table of features; the weights a run began with
    unread      all other sections: those of preparation decide the records, which are
                compared by content, and those of evaluation decide no weight
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from mmgr_jax import __version__
from mmgr_jax.errors import InputError
from mmgr_jax.store import arrays
from mmgr_jax.store.bundles import Metadata
from mmgr_jax.typing import Tree

TRAINING = (
    "seed",
    "data",
    "corpus",
    "augment",
    "model",
    "init",
    "loss",
    "optim",
    "train",
)
"""The sections that decide weights."""

FREE: Mapping[str, str] = {
    "data.num_threads": "who reads",
    "data.cache_mib": "where tiles are kept",
    "data.device_resident": "where tiles are kept",
    "corpus.unknown_categories": "how other records are read",
    "loss.implementation": "the same result by another way",
    "loss.tile": "the same result by another way",
    "train.microbatch_size": "the same gradient; BatchNorm sees smaller parts",
    "train.log_every": "what is told",
    "train.save_every": "what is kept",
    "train.evaluate_every": "what is told",
    "train.keep": "what is kept",
}
"""Settings that may change when a run continues, and what they decide."""

_NAMED = 8  # number of differences named in an error
BY_CONTENT = ("model.image_encoder.path", "init.checkpoint")
_BY_CITY = ("corpus.records", "corpus.weights")
_OF_RECORDS = ("inputs", "regions", "vectors")
_LENGTH = "train.total"

_ABSENT = {
    "corpus.records": [],
    "corpus.weights": [],
    "corpus.evenness": 0.0,
    "corpus.categories": "same",
    "corpus.batches": "mixed",
    "corpus.unknown_categories": "refuse",
    "augment.normalise": "encoder",
    "loss.negatives": "all",
    "model.poi_encoder.counts": False,
    "optim.decay_factor": 0.1,
    "train.evaluate_every": None,
    "train.gradient_dtype": "float32",
}
"""Values of settings that are not in all checkpoints: added or removed later."""

_ARRAYS_FIT = (  # settings of the section `model` that do not change the arrays
    "model.dtype",
    "model.batch_norm",
    "model.image_encoder.train",
    "model.image_encoder.kept_views",
    "model.image_encoder.path",
)

SEEN = {
    "inputs": "tiles, POIs or the order of the regions differ",
    "regions": "the shards differ",
    "categories": "the POI categories or their order differ",
    "vectors": "the category vectors differ",
}
"""Parts of the records that training reads; see `schema.Manifest.identity`."""

_NO_CITY = "no such city"

Differences = dict[str, tuple[Any, Any]]
"""Key -> the value that the checkpoint was trained with, and the value here."""


def of_run(
    records: Mapping[str, str],
    *,
    table: Float[np.ndarray, "r f"] | None,
    total_steps: int,
    corpus: Mapping[str, Any] | None = None,
    pixels: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Describes what trains a run in addition to its config, by content.

    Args:
        records: `RegionSource.identity`.
        table: Features of the regions, if the image encoder is a table.
        total_steps: Length of the run.
        corpus: `Corpus.members`, if the records are of several cities.
        pixels: City -> mean and deviation that its pixels are normalised by; None
            if those of the image encoder are used.
    """
    named = {"corpus": corpus, "pixels": pixels}
    some = {name: dict(value) for name, value in named.items() if value is not None}
    return some | {
        "records": dict(records),
        "table": None if table is None else arrays.hash_of({"table": table}),
        "total_steps": total_steps,
        "version": __version__,
    }


def of_weights(variables: Tree) -> str:
    """Returns the SHA-256 of parameters and statistics, on any devices."""
    return arrays.hash_of(jax.device_get(variables))


def check_model(wanted: Mapping[str, Any], stored: Metadata, bundle: Path) -> None:
    """Refuses a checkpoint whose arrays are of another model.

    Args:
        wanted: The section `model`.
        stored: Metadata of the checkpoint.
        bundle: Folder of the checkpoint.

    Raises:
        InputError: If the models differ; the message names the keys that differ.
    """
    if stored.parts:  # it fits where its arrays do
        return
    pairs = differing({"model": stored.config["model"]}, {"model": wanted})
    pairs = {key: pair for key, pair in pairs.items() if key not in _ARRAYS_FIT}
    if pairs:
        raise InputError(
            f"{bundle}: a checkpoint of another model ({_told(pairs)}). Use "
            "the config it was trained with, or name another checkpoint or workdir."
        )


def check_restart(
    ours: Metadata,
    stored: Metadata,
    bundle: Path,
    weights_of: Callable[[str], str | None] = lambda _: None,
) -> None:
    """Refuses to continue from a checkpoint of other settings or other records.

    Args:
        ours: Metadata of the run that would continue.
        stored: Metadata of the checkpoint.
        bundle: Folder of the checkpoint.
        weights_of: Function from a folder, as in `config.init.checkpoint`, to the hash
            of its weights.

    Raises:
        InputError: If they differ; the message names settings with both values, and
            what differs in the records.
    """
    check_model(ours.config["model"], stored, bundle)
    if stored.parts:  # no run continues from it, which its arrays tell
        return
    pairs = changes(ours, stored, weights_of)
    refused = {key: pair for key, pair in pairs.items() if not _is_free(key, ours)}
    if refused:
        why = ""
        if _LENGTH in refused:
            setting = _hangs_on_length(ours.config)
            why = (
                f" (with {setting} the learning rate of every step depends on "
                f"{_LENGTH})"
            )
        raise InputError(
            f"{bundle}: this run cannot continue from it: {_told(refused)}{why}. Give "
            "what it was trained with, or begin anew with another --config.workdir; "
            "--config.init.checkpoint=... begins with these weights."
        )


def changes(
    ours: Metadata,
    stored: Metadata,
    weights_of: Callable[[str], str | None] = lambda _: None,
) -> Differences:
    """Lists all differences between a run and a checkpoint it would continue from.

    Settings have their key in the config; parts of the records have `records.<part>`.
    What a checkpoint of an earlier version does not hold is not compared.
    """
    pairs = differing(sections(stored.config), sections(ours.config))
    for key in _BY_CITY:
        pairs.pop(key, None)  # compared city by city below
    for key in BY_CONTENT:
        if key in pairs and _same_content(key, pairs[key], ours, stored, weights_of):
            del pairs[key]
    theirs, now = stored.identity, ours.identity
    if _LENGTH in pairs and theirs.get("total_steps") == now.get("total_steps"):
        del pairs[_LENGTH]  # the same length, written in another unit
    if theirs and theirs.get("table") != now.get("table"):
        pairs["model.image_encoder.path"] = (theirs.get("table"), now.get("table"))
    measured = [side.get("pixels", {}) for side in (theirs, now)]
    both = [{name: side[name] for name in measured[0].keys() & measured[1].keys()}
            for side in measured]  # fmt: skip
    pairs |= differing({"pixels": both[0]}, {"pixels": both[1]})
    records = theirs.get("records", {}), now.get("records", {})
    if records[0] and records[1]:
        cities = _cities_apart(theirs.get("corpus", {}), now.get("corpus", {}))
        parts = parts_apart(*records)
        if any(key.startswith("corpus.cities") for key in cities):
            for part in _OF_RECORDS:  # these follow from other cities
                parts.pop(f"records.{part}", None)
        pairs |= cities | parts
    if stored.categories != ours.categories:
        pairs["records.categories"] = _first_other(stored.categories, ours.categories)
    return pairs


def continued(
    ours: Metadata,
    stored: Metadata | None,
    step: int,
    *,
    began_with: str | None = None,
    weights_of: Callable[[str], str | None] = lambda _: None,
) -> tuple[Metadata, Differences]:
    """Makes the metadata of a run's next checkpoints, with the history of the run.

    The history has an entry for the first start and for each later start that changed
    something. An entry holds the step, what changed, and the number of devices and
    processes.

    Args:
        ours: Metadata of the run as it is now.
        stored: Metadata of the checkpoint it continues from; None at step 0.
        step: Step at which it continues.
        began_with: Hash of the weights of `config.init.checkpoint`, at step 0.
        weights_of: As for `check_restart`.

    Returns:
        The metadata, and the changes.
    """
    pairs = {} if stored is None else changes(ours, stored, weights_of)
    now = {
        "version": __version__,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
    }
    before = list(stored.history) if stored else []
    last = before[-1] if before else {}
    same = stored is not None and all(last.get(key) == now[key] for key in now)
    if not (same and not pairs):
        changed = {key: list(pair) for key, pair in pairs.items()}
        before.append({"step": step, **now, "changes": changed})
    if stored:
        began_with = stored.identity.get("began_with")
    identity = {**ours.identity, "began_with": began_with}
    rows = stored.rows if stored else ""
    metadata = dataclasses.replace(
        ours, identity=identity, history=tuple(before), rows=rows
    )
    return metadata, pairs


def sections(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the sections of a config that decide weights."""
    return {name: config[name] for name in TRAINING if name in config}


def recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns dotted key -> value of settings that decide weights, without paths."""
    places = {*FREE, *BY_CONTENT, *_BY_CITY}
    return {
        key: value for key, value in flat(sections(config)).items() if key not in places
    }


def differing(stored: Mapping[str, Any], here: Mapping[str, Any]) -> Differences:
    """Returns the settings that differ between two configs, or parts of them."""
    theirs, ours = _ABSENT | flat(stored), _ABSENT | flat(here)
    return {
        key: (theirs.get(key), ours.get(key))
        for key in sorted(theirs.keys() | ours.keys())
        if json.dumps(theirs.get(key)) != json.dumps(ours.get(key))
    }


def parts_apart(theirs: Mapping[str, str], ours: Mapping[str, str]) -> Differences:
    """Returns parts of records that differ; shards count if a side has no `inputs`."""
    pairs = {
        f"records.{part}": (theirs.get(part, "")[:12], ours.get(part, "")[:12])
        for part in ours
        if theirs.get(part) != ours.get(part)
    }
    if theirs.get("inputs") and ours.get("inputs"):
        same = theirs["inputs"] == ours["inputs"]
        if same or "records.inputs" in pairs:
            pairs.pop("records.regions", None)  # included in inputs, or only labels
    else:
        pairs.pop("records.inputs", None)
    return pairs


def _cities_apart(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Differences:
    """Returns cities that were changed, added or removed, or have another weight."""
    pairs: Differences = {}
    before, now = ({**side.get("cities", {})} for side in (theirs, ours))
    for name in sorted(before.keys() | now.keys()):
        pair = [side.get(name, _NO_CITY)[: len(_NO_CITY)] for side in (before, now)]
        if pair[0] != pair[1]:
            pairs[f"corpus.cities.{name}"] = (pair[0], pair[1])
    for name in sorted(before.keys() & now.keys()):
        weights = [side["weights"][name] for side in (theirs, ours)]
        if weights[0] != weights[1]:
            pairs[f"corpus.weights.{name}"] = (weights[0], weights[1])
    return pairs


def _is_free(key: str, ours: Metadata) -> bool:
    if key == _LENGTH:
        return _hangs_on_length(ours.config) is None
    part = key.removeprefix("records.")
    return key in FREE or (part != key and part not in SEEN)


def _hangs_on_length(config: Mapping[str, Any]) -> str | None:
    """Names the setting that makes the rate of past steps depend on the length."""
    optim = config["optim"]
    if optim["schedule"] == "cosine":
        return "optim.schedule='cosine'"
    for key in ("warmup", "decay_at"):
        if "percent" in str(optim[key]) or "%" in str(optim[key]):
            return f"optim.{key}={optim[key]!r}"
    return None


def _same_content(
    key: str,
    paths: tuple[Any, Any],
    ours: Metadata,
    stored: Metadata,
    weights_of: Callable[[str], str | None],
) -> bool:
    if key == "model.image_encoder.path":
        table = stored.identity.get("table")
        return table is not None and table == ours.identity.get("table")
    began_with = stored.identity.get("began_with")
    if began_with is None or None in paths:
        return False
    return weights_of(paths[1]) == began_with


def _first_other(theirs: Sequence[str], ours: Sequence[str]) -> tuple[str, str]:
    """Returns the first category that differs, on both sides, with its number."""
    for index in range(max(len(theirs), len(ours))):
        pair = [side[index] if index < len(side) else "none" for side in (theirs, ours)]
        if pair[0] != pair[1]:
            return f"{pair[0]} as number {index}", f"{pair[1]} as number {index}"
    raise AssertionError("the lists are the same")


def _told(pairs: Differences) -> str:
    lines = []
    for key, (before, now) in list(pairs.items())[:_NAMED]:
        why = SEEN.get(key.removeprefix("records.")) if "records." in key else None
        line = f"{key}: {before!r} in the checkpoint, {now!r} here"
        lines.append(f"{line} ({why})" if why else line)
    more = len(pairs) - _NAMED
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns dotted key -> value, each value as JSON would store it."""
    leaves = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves.update(flat(value, f"{prefix}{key}."))
        else:
            leaves[prefix + key] = json.loads(json.dumps(value))
    return leaves
