"""`python -m mmgr_jax.page report.json ...`: writes a page beside each report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mmgr_jax import terminal
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.report import report_file
from mmgr_jax.report.page.render import render

ABOUT = """Makes the page of an evaluation anew from its numbers: report.html beside
each report.json, as `python -m mmgr_jax.eval` leaves it. It needs Python alone, so
the numbers can be read on a machine that has none of the rest."""


def main(arguments: Sequence[str]) -> None:
    """Writes the pages; exits with status 2 if a file is not a report."""
    terminal.guard_output()
    parser = argparse.ArgumentParser(
        "python -m mmgr_jax.page",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "report",
        nargs="+",
        type=Path,
        help="report.json, such as runs/toy_city/eval/report.json",
    )
    for path in parser.parse_args(arguments).report:
        page = path.with_suffix(".html")
        try:
            with report_file.understood(path):
                text = render(report_file.read(path))
            files.write_text(page, text)
        except OSError as error:
            _fail(f"{error.filename or page}: {error.strerror or error}.")
        except InputError as error:
            _fail(str(error))
        print(page)


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
