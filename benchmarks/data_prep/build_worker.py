"""Builds a city in a process of its own and prints the seconds of each stage."""

from __future__ import annotations

import functools
import json
import runpy
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from data_prep import build, city, sources
from data_prep import check as checks
from data_prep.category_embedding import vectors
from data_prep.pois import assign
from data_prep.pois import table as pois
from data_prep.records import runners, writer
from data_prep.records.shards import Encode, Shard
from data_prep.splits import splits

STAGES = (
    ("checks", checks, "check"),
    ("hashes of sources", sources, "describe"),
    ("headers", build, "open_imagery"),
    ("regions", city, "cut"),
    ("POIs read", pois, "read"),
    ("POIs of regions", assign, "assign"),
    ("labels", city, "extract"),
    ("splits", splits, "assign"),
    ("category vectors", vectors, "make"),
    ("manifest and seals", writer, "write"),
)
SHARDS = "shards"


def main() -> None:
    """Entry point: `CONFIG WORKERS`."""
    path, workers = sys.argv[1:]
    seconds: dict[str, float] = defaultdict(float)
    for stage, module, name in STAGES:
        setattr(module, name, _timed(getattr(module, name), stage, seconds))
    local = runners.local(int(workers))

    def run(encode: Encode, todo: Sequence[Shard]) -> None:
        _timed(local, SHARDS, seconds)(encode, todo)

    start = time.perf_counter()
    build.build(runpy.run_path(path)["get_config"](), run=run)
    seconds["manifest and seals"] -= seconds[SHARDS]
    seconds["rest"] = time.perf_counter() - start - sum(seconds.values())
    print(json.dumps(seconds))


def _timed(
    function: Callable[..., Any], stage: str, seconds: dict[str, float]
) -> Callable[..., Any]:
    """A function whose seconds are added up under the name of a stage."""

    @functools.wraps(function)
    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            seconds[stage] += time.perf_counter() - start

    return timed


if __name__ == "__main__":
    main()
