"""`python -m mmgr_jax.compare`: compares evaluated runs, averaged over their seeds."""

import glob
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgr_jax.errors import InputError
from mmgr_jax.report import report_file
from mmgr_jax.terminal import columns

USAGE = """Shows evaluated runs side by side.

Each argument is a group of runs: a workdir, or a pattern in quotes that matches the
workdirs of several seeds. Numbers are the mean and the standard deviation over the runs
of a group, under the block split.

  python -m mmgr_jax.compare 'runs/toy_city_seed*' 'runs/toy_city_image_only_seed*'
"""

HEADLINE = {
    "share": ("l1", "kl", "cosine"),
    "class": ("accuracy", "macro_f1", "log_loss"),
    "other": ("rmse", "r2", "r2_log", "spearman"),
}
"""Metrics shown for shares, for classes and for everything else."""


def load(pattern: str) -> list[dict[str, Any]]:
    """Loads the evaluations of one group, one for each workdir.

    Raises:
        InputError: If a workdir has no evaluation, or no workdir matches.
    """
    workdirs = sorted(glob.glob(pattern))
    if not workdirs:
        raise InputError(
            f"{pattern!r} matches no folder. Name workdirs, such as runs/x."
        )
    runs = []
    for workdir in workdirs:
        path = Path(workdir) / "eval" / "report.json"
        if not path.exists():
            raise InputError(
                f"{path}: no such file. Evaluate the run first: "
                f"`python -m mmgr_jax.eval --config=... --workdir={workdir}`."
            )
        runs.append(report_file.read(path))
    with report_file.understood(pattern):
        _refuse_mixture(workdirs, runs)
    return runs


def other_records(first: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    """Names the parts of the records in which two evaluations differ.

    Args:
        first: A report. One without the identity of its records differs in no part.
        run: Another report, likewise.
    """
    pair = [report.get("data", {}).get("identity", {}) for report in (first, run)]
    parts = {"regions": "regions", "labels": "labels", "splits": "splits"}
    if pair[0].get("inputs") and pair[1].get("inputs"):
        parts = {"inputs": "tiles and POIs", "labels": "labels", "splits": "splits"}
    return [
        words
        for part, words in parts.items()
        if all(pair) and pair[0].get(part) != pair[1].get(part)
    ]


def _refuse_mixture(workdirs: Sequence[str], runs: Sequence[dict[str, Any]]) -> None:
    for workdir, run in zip(workdirs, runs, strict=True):
        if other := other_records(runs[0], run):
            raise InputError(
                f"{workdir}: evaluated on other records than {workdirs[0]} "
                f"({', '.join(other)}), so their numbers have no common mean. Evaluate "
                "both on the same records, or name them as two groups."
            )


def table(groups: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """Makes a table for each task: groups and methods as rows, metrics as columns.

    Raises:
        InputError: If a report lacks a part that the others have, or a part is wrong.
    """
    with report_file.understood(", ".join(groups)):
        return _table(groups)


def headlines(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Writes a line for each task: the mean over runs that each method reaches.

    Args:
        runs: Reports of one group.

    Returns:
        The headline metric under the first split and protocol. It is given for methods
        with features of image and POIs together, or for all methods if there are none.
    """
    lines = []
    for name, task in runs[0]["tasks"].items():
        split = next(iter(task["splits"]))
        protocol = next(iter(task["splits"][split]))
        results = [_results(run, name, split, protocol) for run in runs]
        shared = [m for m in results[0] if all(m in result for result in results)]
        metric = task["headline"]
        cells = [
            f"{method} {_cell([one[method]['metrics'].get(metric) for one in results])}"
            for method in [m for m in shared if m.endswith(" both")] or shared
        ]
        lines.append(
            f"{name}: {', '.join(cells)} ({metric}, {split} split, {len(runs)} run(s))"
        )
    return lines


def _table(groups: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    first = next(iter(groups.values()))[0]
    parts = [
        "\n".join(_task_lines(name, task["label"], groups))
        for name, task in first["tasks"].items()
    ]
    notes = [
        f"{group}: evaluated on other records than the first group ({', '.join(other)})"
        for group, runs in groups.items()
        if (other := other_records(first, runs[0]))
    ]
    return "\n\n".join(parts + (["\n".join(notes)] if notes else []))


def _task_lines(
    task: str, label: Mapping[str, Any], groups: Mapping[str, Sequence[dict[str, Any]]]
) -> list[str]:
    metrics = HEADLINE.get(label["kind"], HEADLINE["other"])
    # The first protocol under the first split: the numbers to quote.
    splits = next(iter(groups.values()))[0]["tasks"][task]["splits"]
    split = next(iter(splits))
    protocol = next(iter(splits[split]))
    rows, absent = [], []
    for group, runs in groups.items():
        results = [_results(run, task, split, protocol) for run in runs]
        if not all(results):
            absent.append(f"{group}: no such evaluation")
            continue
        for method in (m for m in results[0] if all(m in result for result in results)):
            cells = [
                _cell([result[method]["metrics"].get(metric) for result in results])
                for metric in metrics
            ]
            rows.append((f"{group} ({len(runs)})", method, *cells))
    header = ("runs", "method", *metrics)
    title = f"{task} ({label['unit']}), {split} split, mean ± sd over runs"
    return [title, *columns([header, *rows], left=len(header)), *absent]


def _results(
    run: Mapping[str, Any], task: str, split: str, protocol: str
) -> Mapping[str, Any]:
    """Method -> result; empty if a run was not evaluated in this way."""
    splits = run["tasks"].get(task, {}).get("splits", {})
    return splits.get(split, {}).get(protocol, {})


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ± {statistics.stdev(known):.3g}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.4g}{spread}"


def main(arguments: Sequence[str]) -> None:
    """Prints the table of the groups named on the command line."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return
    print(table({pattern: load(pattern) for pattern in arguments}))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
