"""Whole weights, released samples, records, heads and reports, to be damaged."""

import json

import numpy as np
import released_sample
import small_report
import small_vits
from small_records import write_records

from mmgr_jax.data.source import RecordSource
from mmgr_jax.evaluation import kept_heads
from mmgr_jax.evaluation.certainty.applicability import Applicability
from mmgr_jax.evaluation.design.grid import Cell
from mmgr_jax.evaluation.design.targets import TargetScale
from mmgr_jax.evaluation.feature_sets import EvaluatedCity
from mmgr_jax.evaluation.heads.head import Head
from mmgr_jax.evaluation.predictors import UNSEEN, Predictor
from mmgr_jax.models import parts, torch_files
from mmgr_jax.report import report_file


def like():
    """Shapes of a small vision transformer in the place of the image encoder."""
    return small_vits.like_of(small_vits.ours("dinov3_vits16"), 32)


def _weights():
    """Numbers for them under the names of timm."""
    import jax

    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), like())
    return parts.image_encoder_to_torch(ones)


def weights(folder, name="image.safetensors"):
    """A vision transformer as timm has it."""
    torch_files.write_state_dict(folder / name, _weights(), {"licence": "CC0"})


def wrapped_weights(folder):
    """The same under a name, beside other things, in half precision."""
    import torch

    named = {f"module.{n}": torch.tensor(w).half() for n, w in _weights().items()}
    content = {"epoch": 3, "state_dict": named, "optimizer": {"lr": 0.1}}
    torch.save(content, folder / "image.pth.tar")


def released(folder):
    """Four regions of the released sample."""
    released_sample.write(folder)
    for name in released_sample.NAMES[4:]:
        for path in folder.rglob(f"{name}.*"):
            path.unlink()


def report(folder):
    """A report in the folder of a run, without a hash of its own."""
    (folder / "eval").mkdir()
    (folder / "eval" / "report.json").write_text(json.dumps(small_report.report()))


def report_with_hash(folder):
    """As it is written."""
    (folder / "eval").mkdir()
    text = report_file.text(small_report.report())
    (folder / "eval" / "report.json").write_text(text)


def records(folder):
    """Eight regions in two shards."""
    write_records(folder, rows=2, columns=4, num_shards=2)


def heads(folder):
    """What an evaluation leaves to `embed`."""
    records(folder)
    weights = {"kernel": np.ones((6, 1)), "bias": np.zeros(1)}
    head = Head(
        "linear", weights, np.zeros(6), np.ones(6), TargetScale(), Cell(0, 1, 0), 1
    )
    likeness = Applicability(np.zeros(6), np.ones(6), np.ones((8, 6)), 1.0, 1.0)
    fold = np.zeros(8, int)
    kept = Predictor({0: head, UNSEEN: head}, np.ones(()), None, likeness, fold)
    kept_heads.save(
        folder / "heads",
        {"population": {"image": kept}},
        EvaluatedCity.of(RecordSource(folder)),
        fold=fold,
        features={"weights": "a"},
        checkpoint=folder,
        best={"population": "image"},
    )
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()


def metrics(folder):
    """The rows of a run."""
    rows = [{"step": step, "loss": 1.0 / step} for step in range(1, 9)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
