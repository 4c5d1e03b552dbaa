"""What "label next" is worth: rules of the page beside labels drawn at random.

    python -m benchmarks.label_next --workdir=runs/toy_city

The page's own modules choose, fit and predict, run by Node. In each trial half of the
spatial blocks, drawn anew, may be labelled; the regions of the others are tested. Every
rule gets the same halves, so differences are paired. Rules and their constants were
chosen on one generated city and looked at once on another; docs/explore_labels.md has
both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> None:
    """Prints the table of a city."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.label_next",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", type=Path, default=Path("runs/toy_city"))
    parser.add_argument("--records", type=Path, default=Path("data/toy_city/records"))
    parser.add_argument("--tasks", nargs="+", default=["gdp", "population"])
    parser.add_argument("--labels", type=int, default=20)
    parser.add_argument("--trials", type=int, default=20)
    given = parser.parse_args(arguments)
    from benchmarks.measured import label_next  # libraries load once flags are fine

    city = label_next.read(given.workdir, given.records, given.tasks)
    results = label_next.trials(city, count=given.labels, number=given.trials)
    print(label_next.table(results, given.tasks))


if __name__ == "__main__":
    main(sys.argv[1:])
