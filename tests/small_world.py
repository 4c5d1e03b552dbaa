"""Everything this program writes, on a city of 24 regions, made when it is asked for.

Two worlds of other seeds, so that a file may be swapped with the same of another run.
Each has `records`, a `run` with checkpoints, metrics, heads, a report and maps, a run
`locked` whose tower is kept, and records that were `built`; and here are the commands
that read them and say what they found.
"""

import contextlib
import dataclasses
import io
import json
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
import pandas as pd
import small_records
from small_records import CATEGORIES

from data_prep import build
from data_prep.validate import command as validation
from mmgr_jax import compare, page
from mmgr_jax.data import folds, schema, texts
from mmgr_jax.data.source import open_source
from mmgr_jax.evaluation import mapping, run
from mmgr_jax.query import ranking as query
from mmgr_jax.store import checkpoint
from mmgr_jax.train import loop

STEPS, MORE = 4, 6


def records(folder, seed):
    """Records with folds and with the space of texts."""
    (folder / "records").mkdir(parents=True)
    place = small_records.write_records(
        folder / "records", rows=4, columns=6, seed=seed
    )
    manifest = schema.Manifest.load(place)
    ids = [f"r{row:04d}c{column:04d}" for row in range(4) for column in range(6)]
    fold = np.random.default_rng(seed).permutation(24) % 4
    folds.write(place, ids, {"block": fold})
    vectors = np.eye(5, 16, dtype=np.float32) * (1 + seed)
    np.save(place / schema.CATEGORY_VECTORS_FILE, vectors)
    space = texts.TextSpace(
        "wordllama", "", "0", CATEGORIES, np.zeros(5), np.eye(16, 5), 1.0 + seed
    )
    (place / texts.FILE).write_bytes(space.to_bytes())
    splits = {"block": schema.SplitColumn(4, 0.0)}
    changed = (schema.CATEGORY_VECTORS_FILE, texts.FILE, schema.SPLITS_FILE)
    dataclasses.replace(manifest, splits=splits).save(place, changed)


def config_of(folder, seed=0, total=STEPS):
    """A config on what lies in a folder: seconds a command."""
    c = small_records.config_of(folder / "records", folder)
    c.seed = seed
    c.train.total = f"{total} steps"
    c.optim.schedule, c.optim.warmup = "constant", "0 steps"
    c.eval.tasks, c.eval.features, c.eval.splits = (
        ("population",),
        ("image",),
        ("block",),
    )
    c.eval.baselines, c.eval.protocols, c.eval.curves.methods = (), ("linear",), ()
    c.eval.certainty.num_resamples = 20
    c.embed.features = "image"
    return c


def locked_config(folder, seed=0, total=STEPS):
    """The same with a locked tower, in a workdir of its own."""
    c = config_of(folder, seed, total)
    c.workdir = str(folder / "locked")
    c.model.image_encoder = dict(name="resnet_small", width=4, train="none")
    c.loss.image_weight, c.readout.image = 0.0, "pooled"
    return c


def trained(folder, seed):
    """A run of four steps, with bundles of steps 2 and 4."""
    loop.train(config_of(folder, seed))


def evaluated(folder, seed):
    """Its heads, report and maps."""
    run.evaluate(config_of(folder, seed))
    mapping.embed(config_of(folder, seed))


def locked(folder, seed):
    """A run with a locked tower."""
    loop.train(locked_config(folder, seed))


def built(folder, seed):
    """Records built from sources, of a city of nine regions."""
    import small_city

    config = small_city.write(folder / "built")
    config.regions.min_coverage = 0.95 if seed == 0 else 0.5
    build.build(config)


# ---- commands, and what they find ----


def goes_on(folder):
    """Training from the newest checkpoint: all that it leaves."""
    config = config_of(folder, total=MORE)
    loop.train(config)
    return _left(Path(config.workdir))


def goes_on_locked(folder):
    """The same with a locked tower."""
    config = locked_config(folder, total=MORE)
    loop.train(config)
    return _left(Path(config.workdir))


def begins_with(folder):
    """A new run with the weights of the old one."""
    config = config_of(folder, total=1)
    config.init.checkpoint, config.workdir = config.workdir, str(folder / "new")
    loop.train(config)
    return _left(folder / "new")


def evaluates(folder):
    """The tasks of the report."""
    run.evaluate(config_of(folder))
    report = json.loads((folder / "run/eval/report.json").read_text())
    return {"tasks": report["tasks"], "regions": report["regions"]}


def evaluates_table(folder):
    """The same of the table of embeddings, which is as good as any other."""
    config = config_of(folder)
    config.eval.features = ("poi",)
    config.eval.tables = (("kept", str(folder / "run/maps/embeddings.parquet")),)
    run.evaluate(config)
    report = json.loads((folder / "run/eval/report.json").read_text())
    return report["tasks"]


def maps(folder):
    """Embeddings and predictions, by the heads that the evaluation left."""
    mapping.embed(config_of(folder))
    return _columns(folder)


def maps_by_named_heads(folder):
    """The same by heads that the config names, which stops where they are damaged."""
    config = config_of(folder)
    config.embed.heads = str(folder / "run/eval/heads")
    mapping.embed(config)
    return _columns(folder)


def asks(folder):
    """Regions by a text."""
    with contextlib.redirect_stdout(io.StringIO()):
        (found,) = query.query(config_of(folder), ["cafe"], top=3)
    return {"order": found.order, "cosine": found.cosine, "asked": found.asked}


def page_of_report(folder):
    """The page of a report."""
    report = folder / "run/eval/report.json"
    with contextlib.redirect_stdout(io.StringIO()):
        page.main([str(report)])
    return report.with_suffix(".html").read_text()


def compares(folder):
    """The table of one run."""
    with contextlib.redirect_stdout(io.StringIO()) as told:
        compare.main([str(folder / "run")])
    return told.getvalue().replace(str(folder), "")


def opens(folder):
    """What training and evaluation read of records."""
    source = open_source(config_of(folder))
    every = source.read(range(len(source)), image=True)
    ids = [record["region_id"] for record in every]
    return {
        "records": every,
        "vectors": source.category_vectors(),
        "folds": folds.read(source.records_dir, source.manifest, ids),
        "space": texts.TextSpace.load(source.records_dir).components,
    }


def validates(folder):
    """What the checks say of built records."""
    with contextlib.redirect_stdout(io.StringIO()) as told:
        validation.validate(_built_config(folder))
    return told.getvalue().replace(str(folder), "")


def builds(folder):
    """The records that a start finds, or makes anew."""
    build.ensure(config := _built_config(folder))
    manifest = schema.Manifest.load(config.records.dir)
    assert not manifest.faults(config.records.dir, whole=True)
    return {"inputs": manifest.inputs_sha256, "shards": manifest.shard_sha256}


def _built_config(folder):
    import small_city  # beside the tests of data_prep

    return small_city.describe(str(folder / "built/raw"))


def _left(workdir):
    bundle = checkpoint.latest(workdir)
    described = ocp.checkpointables_metadata(bundle).metadata
    template = {
        name: jax.tree.map(
            lambda leaf: np.empty(leaf.shape, leaf.dtype), described[name]
        )
        for name in ("model", "train")
    }
    found = ocp.load_checkpointables(bundle, template | {"data": None})
    leaves = jax.tree_util.tree_leaves_with_path(found)
    rows = (workdir / "metrics.jsonl").read_text().splitlines()
    told = [json.loads(row) for row in rows]
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves} | {
        "rows": [(row["step"], row["loss"]) for row in told]
    }


def _columns(folder):
    table = pd.read_parquet(folder / "run/maps/embeddings.parquet")
    return {name: np.stack(table[name].to_numpy()).tolist() for name in table
            if name not in ("bbox", "geometry")}  # fmt: skip
