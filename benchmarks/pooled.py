"""Results of many cities and seeds put together: means, paired intervals, tables."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from benchmarks import ways
from mmgr_jax.evaluation.certainty import intervals
from mmgr_jax.evaluation.trials.results import Report

METRICS = {"function": "l1", "gdp": "r2_log", "population": "r2_log"}
REFERENCE = "statistics and counts"


class Measured(NamedTuple):
    """A metric of a method, over cities and seeds.

    Attributes:
        estimate: Mean over cities of the mean over seeds.
        samples: The same of each resample of blocks [n], drawn in every city.
        num_blocks: Blocks of all cities.
    """

    estimate: float
    samples: np.ndarray
    num_blocks: int

    def interval(self) -> intervals.Interval:
        """Of the mean, over blocks."""
        return intervals.interval(
            self.estimate, self.samples, num_blocks=self.num_blocks
        )

    def better_than(self, metric: str, other: Measured) -> intervals.Interval:
        """Paired difference, above 0 where this one is better."""
        return intervals.difference(
            metric,
            (self.estimate, self.samples),
            (other.estimate, other.samples),
            num_blocks=self.num_blocks,
        )


def save(folder: Path, found: Report) -> None:
    """Headline metrics and their resamples, with all labels and with few."""
    arrays: dict[str, np.ndarray] = {}
    for task, result in found.tasks.items():
        metric = METRICS.get(task, result.headline)
        for method, of in result.main.items():
            name = f"{task}|{method}|all"
            arrays[name] = np.append(of.metrics[metric], of.samples[metric])
            arrays[f"{name}|blocks"] = np.array(of.num_blocks)
        for method, points in result.curves.items():
            for point in points:
                if point.fraction is None:
                    name = f"{task}|{method}|{point.num_labels:g}"
                    mean = point.metrics[metric].mean
                    arrays[name] = np.append(mean, point.samples[metric])
    temporary = folder / f".{ways.RESULT}"
    with temporary.open("wb") as out:
        np.savez_compressed(out, **cast(dict[str, Any], arrays))
    temporary.rename(folder / ways.RESULT)


@functools.lru_cache(maxsize=4096)
def stored(path: Path) -> Mapping[str, np.ndarray]:
    """What `save` has written: estimate and samples [1 + n] by name."""
    with np.load(path) as arrays:
        return dict(arrays)


def measured(
    by_city: Mapping[int, Sequence[Path]], task: str, method: str, labels: str = "all"
) -> Measured | None:
    """A method on a task over cities; None where a city lacks it."""
    key, every, blocks = f"{task}|{method}|{labels}", [], 0
    for paths in by_city.values():
        having = [of for path in paths if key in (of := stored(path))]
        if not having:
            return None
        every.append(np.mean([of[key] for of in having], axis=0))
        blocks += _blocks(having[0], task)
    if not every:
        return None
    mean = np.mean(every, axis=0)
    return Measured(float(mean[0]), mean[1:], blocks)


def tables(part: str, jobs: Sequence[Any]) -> str:
    """All ways of a part in Markdown: each task, paired against the first way."""
    done = [job for job in jobs if job.done]
    groups: dict[str, dict[str, dict[int, list[Path]]]] = {}
    for job in done:
        city = groups.setdefault(job.harder, {}).setdefault(job.way, {})
        city.setdefault(job.city, []).append(job.folder / ways.RESULT)
    lines = []
    for harder, by_way in groups.items():
        if harder:
            lines += [f"### {harder}", ""]
        lines += _ways_table(by_way) + [""]
        lines += _method_table(by_way) + [""]
        if part == "held_out":
            for number in ("5", "10", "25", "50", "100"):
                lines += _method_table(by_way, number) + [""]
    return "\n".join(lines).rstrip() + "\n"


def _ways_table(by_way: Mapping[str, Mapping[int, Sequence[Path]]]) -> list[str]:
    """One row a way: metrics of both kinds, and how much better than the first way."""
    head, rule = "| way | cities x seeds |", "|---|---|"
    for kind in ("image", "both"):
        for task, metric in METRICS.items():
            head += f" {kind}: {task}, {metric} |"
            rule += "---|"
    lines = [
        "In brackets: how much better than `recommended` in the same cities and from "
        "the same seeds; * where the paired 95 % interval over blocks leaves 0 out.",
        "", head, rule,
    ]  # fmt: skip
    first = by_way.get("recommended")
    for way, by_city in by_way.items():
        counts = sorted({len(paths) for paths in by_city.values()})
        row = [f"`{way}`: {ways.WAYS[way].sentence}" if way in ways.WAYS else way]
        row.append(f"{len(by_city)} x {'-'.join(map(str, counts))}")
        for kind in ("image", "both"):
            for task, metric in METRICS.items():
                method = f"MMGR {kind}"
                own = measured(by_city, task, method)
                row.append(f"{own.estimate:.3f}" if own else "")
                if first and way != "recommended":
                    base = measured(_common(first, by_city), task, method)
                    paired = measured(_common(by_city, first), task, method)
                    if paired and base:
                        by = paired.better_than(metric, base)
                        row[-1] += f" ({_short(by)})"
        lines.append("| " + " | ".join(row) + " |")
    return lines


def _short(of: intervals.Interval) -> str:
    return f"{of.estimate:+.3f}{' *' if of.excludes_zero else ''}"


def _common(
    by_city: Mapping[int, Sequence[Path]], other: Mapping[int, Sequence[Path]]
) -> dict[int, list[Path]]:
    """Results of those cities and training seeds that another way has too."""
    seeds = {
        city: {path.parent.name for path in paths} for city, paths in other.items()
    }
    kept = {
        city: [path for path in paths if path.parent.name in seeds.get(city, ())]
        for city, paths in by_city.items()
    }
    return {city: paths for city, paths in kept.items() if paths}


def _method_table(
    by_way: Mapping[str, Mapping[int, Sequence[Path]]], labels: str = "all"
) -> list[str]:
    """Methods of the recommended way beside all baselines, paired with MMGR both."""
    by_city = by_way.get("recommended")
    if by_city is None:
        return []
    names = _methods(by_city, labels)
    if "MMGR both" not in names:
        return []
    said = "All labels" if labels == "all" else f"{labels} labels"
    lines = [f"{said}, {len(by_city)} cities:", ""]
    head, rule = "| features |", "|---|"
    for task, metric in METRICS.items():
        head += (
            f" {task}, {metric} | MMGR both is better by | MMGR image is better by |"
        )
        rule += "---|---|---|"
    lines += [head, rule]
    for name in names:
        row = [name]
        for task, metric in METRICS.items():
            own = measured(by_city, task, name, labels)
            if own is None:
                row += ["", "", ""]
                continue
            of = own.interval()
            row.append(f"{own.estimate:.3f} [{of.low:.3f}, {of.high:.3f}]")
            for ours in ("MMGR both", "MMGR image"):
                best = measured(by_city, task, ours, labels)
                other = None if name == ours else best
                row.append(_difference(other.better_than(metric, own)) if other else "")
        lines.append("| " + " | ".join(row) + " |")
    return lines


def _methods(by_city: Mapping[int, Sequence[Path]], labels: str) -> list[str]:
    keys = [key for paths in by_city.values() for path in paths for key in stored(path)]
    named = [key.split("|") for key in keys]
    return list(
        dict.fromkeys(of[1] for of in named if (of[0], *of[2:]) == ("gdp", labels))
    )


def _difference(of: intervals.Interval) -> str:
    sure = " *" if of.excludes_zero else ""
    return f"{of.estimate:+.3f} [{of.low:+.3f}, {of.high:+.3f}]{sure}"


def _blocks(of: Mapping[str, np.ndarray], task: str) -> int:
    return next(
        int(value)
        for key, value in of.items()
        if key.startswith(f"{task}|") and key.endswith("|blocks")
    )
