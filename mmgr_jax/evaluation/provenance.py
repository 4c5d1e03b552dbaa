"""Provenance of a report's numbers: data, config, versions, checkpoint."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import __version__, settings
from mmgr_jax.data import contents, schema
from mmgr_jax.evaluation.feature_sets import EvaluatedCity
from mmgr_jax.evaluation.inference_encoder import InferenceEncoder
from mmgr_jax.evaluation.settings import EvalSettings, ReadoutSettings
from mmgr_jax.report import report_json
from mmgr_jax.store import checkpoint, identity

PACKAGES = ("jax", "flax", "orbax-checkpoint", "numpy", "scipy")


def of(
    config: ConfigDict,
    eval_settings: EvalSettings,
    city: EvaluatedCity,
    bundle: Path,
    encoders: Mapping[str, InferenceEncoder],
    made_by: Mapping[str, Any],
) -> dict[str, Any]:
    """Collects the provenance for a report; see `report.report_json`.

    Args:
        config: Config of the evaluation. Settings that decide weights are reported as
            in the checkpoint.
        eval_settings: Settings of the evaluation.
        city: The city that is evaluated.
        bundle: The checkpoint.
        encoders: Encoders that are compared.
        made_by: Identity of the checkpoint's features, from `features`.
    """
    manifest, folder = city.source.manifest, city.source.records_dir
    shards = [path.name for path in manifest.shard_paths(folder)]
    files = {
        name: contents.of_file(folder / name)
        for name in (schema.MANIFEST_FILE, schema.SPLITS_FILE)
        if (folder / name).exists()
    }
    trained = checkpoint.load_metadata(bundle)
    return {
        "schema": report_json.SCHEMA,
        "created": datetime.datetime.now(datetime.UTC).isoformat(),
        "versions": versions(),
        "checkpoint": str(bundle),
        "training_seed": trained.config.get("seed"),
        "config": trained_config(config, trained),
        "settings": dataclasses.asdict(eval_settings),
        "made_by": dict(made_by),
        "trained_on": dict(trained.identity),
        "history": list(trained.history),
        "differences": told_apart(config, city, bundle),
        "encoders": {
            name: {
                "from": encoder.name,
                "weights": identity.of_weights(encoder.variables),
            }
            for name, encoder in encoders.items()
        },
        "tables": {name: contents.of_file(path) for name, path in eval_settings.tables},
        "data": {
            "city": manifest.city,
            "crs": manifest.crs,
            "records": str(folder),
            "identity": dict(city.source.identity),
            "num_regions": len(city.source),
            "num_blocks": len(np.unique(city.regions.block_id)),
            "block_size_m": manifest.block_size_m,
            "tile_size_px": manifest.tile_size_px,
            "tile_size_m": manifest.tile_size_m,
            "empty_share": manifest.empty_share,
            "hashes": {
                **files,
                **dict(zip(shards, manifest.shard_sha256, strict=True)),
            },
            "sources": dict(manifest.sources),
        },
    }


def features(config: ConfigDict, encoder: InferenceEncoder) -> dict[str, Any]:
    """Returns the identity of features: all that decides them apart from the region.

    Args:
        config: Names the number type of the model for encoding, and the readout.
        encoder: The encoder, with its weights and image size.
    """
    readout = settings.read(ReadoutSettings, config.readout, "readout")
    # Heads of before say nothing of it, and may be used with encoders as before.
    others = {"augment.normalise": encoder.normalise}
    return {
        "weights": identity.of_weights(encoder.variables),
        "model.dtype": config.model.dtype,
        "augment.size_px": encoder.size_px,
        **({} if encoder.normalise == "encoder" else others),
        **identity.flat({"readout": dataclasses.asdict(readout)}),
    }


def told_apart(config: ConfigDict, city: EvaluatedCity, bundle: Path) -> list[str]:
    """Returns a sentence for each difference from the training of the checkpoint."""
    trained = checkpoint.load_metadata(bundle)
    present = identity.sections(trained.config)
    here = {name: config.to_dict()[name] for name in present}
    sentences = [
        f"The checkpoint was trained with {key}={before!r}; the config says {now!r}."
        for key, (before, now) in identity.differing(present, here).items()
        if key not in identity.FREE
        and key not in identity.BY_CONTENT
        and not key.startswith("corpus.")  # told below
    ]
    trained_on = trained.identity.get("records", {})
    if cities := trained.identity.get("corpus", {}).get("cities"):
        own = city.source.identity
        if (own["inputs"] or own["regions"]) not in cities.values():
            sentences.append(
                f"The checkpoint was trained on {len(cities)} cities; this is none of "
                f"them: {', '.join(cities)}."
            )
    elif trained_on:
        parts = identity.parts_apart(trained_on, city.source.identity)
        seen = [identity.SEEN.get(part.removeprefix("records.")) for part in parts]
        sentences += [
            f"The checkpoint was trained on other records: {what}."
            for what in filter(None, seen)
        ]
    return sentences


def trained_config(config: ConfigDict, trained: checkpoint.Metadata) -> dict[str, Any]:
    """Returns the config with the training sections of a checkpoint.

    Sections that do not affect the weights (readout, evaluation, paths) stay as they
    are.
    """
    sections = {*identity.TRAINING, "mesh", "sharding", "category_vectors"}
    return {
        name: trained.config[name]
        if name in sections and name in trained.config
        else value
        for name, value in config.to_dict().items()
    }


def versions() -> dict[str, str]:
    """Returns versions of this program, of Python and of the numerical packages."""
    return {
        "mmgr-jax": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }
