"""`python -m benchmarks.summary FOLDER`: the results in a folder, one below another."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import table


def text(folder: Path) -> str:
    """A table for each result, and its doubts.

    Args:
        folder: Holds `SECTION.json` files, as `--json` writes them.
    """
    parts = []
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime):
        result = json.loads(path.read_text(encoding="utf-8"))
        lines = [f"== {path.stem}", table.table(result["rows"]), *result["doubts"]]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) or f"{folder} holds no result."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        "python -m benchmarks.summary",
        description="Prints the results in a folder, one below another.",
    )
    parser.add_argument("folder", type=Path, help="with what --json has written")
    print(text(parser.parse_args().folder))
