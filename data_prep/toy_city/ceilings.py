"""Computes the highest R2 that is possible for the labels of generated cities.

Usage, once a city is there (it takes no evaluation and no training):
    python -m data_prep.toy_city.ceilings data/toy_city/raw/truth
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmgr_jax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SCOPES = ("all", "built")
COLUMNS = {
    "gdp": {
        "all_latents": "gdp_without_noise",
        "image_visible": "gdp_image_visible",
        "image_plain": "gdp_image_plain",
    },
    "population": {"all_latents": "population_without_noise"},
}
"""Of each label the columns of the truth that stand for what one knows."""

KNOWN = tuple(COLUMNS["gdp"])
"""What may be known of a region: all latents; all that the picture shows; what it shows
plainly. The noise is never known."""


def ceilings(
    truth_dir: str | Path, *, scope: str = "all", known: str = "all_latents"
) -> dict[str, float]:
    """The highest R2 of log(1 + value / median) of GDP and population.

    Only the noise of population is hidden, so its ceiling is the same for every set of
    known latents.

    Args:
        truth_dir: Folder `truth` of a generated city.
        scope: "all" regions, or those "built".
        known: One of `KNOWN`.

    Returns:
        The ceiling of each label.

    Raises:
        InputError: If the folder holds no truth, or `scope` or `known` is not allowed.
    """
    for name, value, allowed in (("scope", scope, SCOPES), ("known", known, KNOWN)):
        if value not in allowed:
            raise InputError(
                f"{name} is {value!r}; give one of {', '.join(map(repr, allowed))}."
            )
    from data_prep.toy_city import truth  # it loads libraries

    table = _read(Path(truth_dir))
    highest = {}
    for label in COLUMNS:
        by_known = truth.ceilings(table, label)[scope]
        plain = known not in by_known  # of this label the picture hides nothing
        highest[label] = float(by_known["all_latents" if plain else known])
    return highest


def _read(truth_dir: Path) -> pd.DataFrame:
    path = truth_dir / "truth.parquet"
    if not path.is_file():
        raise InputError(
            f"{path} is not there; name the folder `truth` of a generated city, such "
            "as data/toy_city/raw/truth, or generate one by `python -m "
            "data_prep.build --config=configs/toy_city.py`."
        )
    import pandas as pd

    return pd.read_parquet(path)


def main(arguments: Sequence[str]) -> None:
    """Prints the ceilings; exits with status 2 where a folder holds no truth."""
    parser = argparse.ArgumentParser(
        "python -m data_prep.toy_city.ceilings",
        description="Prints the most that can be known of the labels of generated "
        "cities, as R2 of log(1 + value / median).",
    )
    parser.add_argument(
        "truth_dir",
        nargs="+",
        help="folder `truth` of a generated city, such as data/toy_city/raw/truth",
    )
    try:
        for folder in parser.parse_args(arguments).truth_dir:
            _print(folder)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _print(folder: str) -> None:
    print(folder)
    for scope in SCOPES:
        for known in KNOWN:
            r2 = ceilings(folder, scope=scope, known=known)
            values = ", ".join(f"{label} {r2[label]:.3f}" for label in r2)
            print(f"  {scope} regions, {known}: {values}")


if __name__ == "__main__":
    main(sys.argv[1:])
