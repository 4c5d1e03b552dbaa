"""What made a run, its weights and its features, by content; and what may not be mixed.

A run goes on only with what its weights were trained with. For each setting it is
decided here: refused, with both values, or allowed, and written into the history that
every later checkpoint carries. What is not listed is refused. Paths are no identity: a
run that was moved or copied goes on.

    refused     seed, data, corpus, augment, model, init, loss, optim, train but for
    allowed     those of `FREE`, for the reason given there
    by content  records (tiles, POIs, categories in order, their vectors), of a corpus
                each city's and its weight, what its pixels are normalised by, a
                table of features, the weights a run began with
    unread      all other sections: those of preparation decide the records, those of
                evaluation no weight
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
"""Settings that may be others when a run goes on, and what they decide."""

_NAMED = 8  # differences in an error
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
"""What settings were before checkpoints said them, or no longer do."""

_ARRAYS_FIT = (  # of section `model`: the arrays are the same
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
"""Key -> what the checkpoint was trained with, and what is here."""


def of_run(
    records: Mapping[str, str],
    *,
    table: Float[np.ndarray, "r f"] | None,
    total_steps: int,
    corpus: Mapping[str, Any] | None = None,
    pixels: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a run is made of beside its config.

    Args:
        records: `RegionSource.identity`.
        table: Features of the regions, where the image encoder is a table.
        total_steps: Length of the run.
        corpus: `Corpus.members` where the records are of several cities.
        pixels: City -> mean and deviation that its pixels are normalised by; None
            where those of the image encoder are.
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
    """SHA-256 of parameters and statistics, wherever they lie."""
    return arrays.hash_of(jax.device_get(variables))


def check_model(wanted: Mapping[str, Any], stored: Metadata, bundle: Path) -> None:
    """Refuses a checkpoint whose arrays are of another model.

    Args:
        wanted: The section `model`.
        stored: What the checkpoint says.
        bundle: Its folder.

    Raises:
        InputError: With every key that differs.
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
    """Refuses to go on from a checkpoint of other settings or other records.

    Args:
        ours: Of the run that would go on.
        stored: What the checkpoint says.
        bundle: Its folder.
        weights_of: The hash of weights in a folder of `config.init.checkpoint`.

    Raises:
        InputError: With every setting that differs and both values, and with what
            differs in the records.
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
    """All that differs between a run and a checkpoint it would go on from.

    Keys of the config as they are; `records.<part>` for parts of the records. What a
    checkpoint of before does not say does not differ.
    """
    pairs = differing(sections(stored.config), sections(ours.config))
    for key in _BY_CITY:
        pairs.pop(key, None)  # told city by city
    for key in BY_CONTENT:
        if key in pairs and _same_content(key, pairs[key], ours, stored, weights_of):
            del pairs[key]
    theirs, now = stored.identity, ours.identity
    if _LENGTH in pairs and theirs.get("total_steps") == now.get("total_steps"):
        del pairs[_LENGTH]  # in other words
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
            for part in _OF_RECORDS:  # other cities' are other ones
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
    """What the next checkpoints of a run say: all it was trained with, step by step.

    The history has an entry for the first start and for each later one that changed
    something: the step, what changed, and on how many devices and processes.

    Args:
        ours: Of the run as it is now.
        stored: Of the checkpoint it goes on from; None at step 0.
        step: Where it goes on.
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
    """The sections of a config that decide weights."""
    return {name: config[name] for name in TRAINING if name in config}


def recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key -> value of what decides weights, without names of places."""
    places = {*FREE, *BY_CONTENT, *_BY_CITY}
    return {
        key: value for key, value in flat(sections(config)).items() if key not in places
    }


def differing(stored: Mapping[str, Any], here: Mapping[str, Any]) -> Differences:
    """The settings that two configs, or parts of them, do not share."""
    theirs, ours = _ABSENT | flat(stored), _ABSENT | flat(here)
    return {
        key: (theirs.get(key), ours.get(key))
        for key in sorted(theirs.keys() | ours.keys())
        if json.dumps(theirs.get(key)) != json.dumps(ours.get(key))
    }


def parts_apart(theirs: Mapping[str, str], ours: Mapping[str, str]) -> Differences:
    """Parts of records that differ; shards count where one side has no `inputs`."""
    pairs = {
        f"records.{part}": (theirs.get(part, "")[:12], ours.get(part, "")[:12])
        for part in ours
        if theirs.get(part) != ours.get(part)
    }
    if theirs.get("inputs") and ours.get("inputs"):
        same = theirs["inputs"] == ours["inputs"]
        if same or "records.inputs" in pairs:
            pairs.pop("records.regions", None)  # said by inputs, or labels alone
    else:
        pairs.pop("records.inputs", None)
    return pairs


def _cities_apart(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Differences:
    """Cities that are other ones, come or gone, and those with another weight."""
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
    """The setting by which the learning rate of past steps hangs on the total."""
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
    """The first category that is another, on both sides, with its number."""
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
    """Dotted key -> value, as JSON brings it back."""
    leaves = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves.update(flat(value, f"{prefix}{key}."))
        else:
            leaves[prefix + key] = json.loads(json.dumps(value))
    return leaves
