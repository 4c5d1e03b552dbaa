"""Lists the nearest categories of each category, as text for people to read."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float32

from data_prep.pois.table import PoiTable

_NUM_NEAREST = 5


def describe(
    poi_table: PoiTable, table: Float32[np.ndarray, "k d"], made: str = ""
) -> str:
    """Writes a line per category: its first level, its POIs, its nearest categories.

    Args:
        poi_table: The POIs.
        table: The vector of each of their categories [k d].
        made: How the vectors were made, for the first line.

    Returns:
        Lines of text; the last one ends with a newline.
    """
    names, parents = poi_table.categories, poi_table.parents
    frequency = np.bincount(poi_table.category, minlength=len(names))
    cosine = cosines(table)
    np.fill_diagonal(cosine, -np.inf)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :_NUM_NEAREST]
    width, parent_width = (max(map(len, column)) for column in (names, parents))
    lines = [f"# {made}"] if made else []
    lines += [f"# {separation(parents, table)}", "# * same first level"]
    lines.append(
        f"{'category':{width}}  {'first level':{parent_width}}     POIs  "
        "nearest (cosine)"
    )
    for row, name in enumerate(names):
        nearest = " | ".join(
            f"{names[other]}{'*' * (parents[other] == parents[row])} "
            f"{cosine[row, other]:.2f}"
            for other in order[row]
            if other != row
        )
        lines.append(
            f"{name:{width}}  {parents[row]:{parent_width}}  {frequency[row]:7,}  "
            f"{nearest}".rstrip()
        )
    return "\n".join(lines) + "\n"


def separation(parents: tuple[str, ...], table: Float32[np.ndarray, "k d"]) -> str:
    """Says how alike categories with the same first level are, and all others."""
    means = dict(
        zip(("siblings", "strangers"), mean_cosines(parents, table), strict=True)
    )
    cosines = [
        f"{name} {mean:.3f}" for name, mean in means.items() if not math.isnan(mean)
    ]
    return f"mean cosine: {', '.join(cosines) or 'no pairs'}"


def mean_cosines(
    parents: tuple[str, ...], table: Float32[np.ndarray, "k d"]
) -> tuple[float, float]:
    """Returns the mean cosine of categories with the same first level, and of others.

    A mean is NaN where there is no such pair.
    """
    cosine = cosines(table)
    parent = np.array(parents, str)
    alike = np.equal.outer(parent, parent)
    pairs = ~np.eye(len(parents), dtype=bool)
    siblings, strangers = cosine[alike & pairs], cosine[~alike]
    return (
        float(siblings.mean()) if len(siblings) else float("nan"),
        float(strangers.mean()) if len(strangers) else float("nan"),
    )


def cosines(table: Float32[np.ndarray, "k d"]) -> Float[np.ndarray, "k k"]:
    """Returns the cosine of each pair of vectors [k k]; 0 if one vector is zero."""
    vectors = table.astype(np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return unit @ unit.T
