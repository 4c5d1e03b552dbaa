"""Finds the columns of Overture Places that say what a place is.

Releases differ: older ones have `categories` {primary, alternate}, newer ones
`taxonomy` {primary, hierarchy, alternates} and `basic_category`.

Reference: https://docs.overturemaps.org/schema/reference/places/
"""

from __future__ import annotations

import logging

from data_prep.files import tables
from mmgr_jax.errors import InputError

NAME = "names.primary"

# Basic categories come first: a few hundred that people would use, not two thousand.
CATEGORY = ("basic_category", "taxonomy.primary", "categories.primary")
_PARENT = "taxonomy.hierarchy[0]"


def columns(
    header: tables.TableHeader, category: str, parent: str | None, name: str
) -> tuple[str, str | None, str]:
    """Returns the columns of category, first-level category and name.

    Args:
        header: What the file says of itself.
        category: A column, or "category" for the best one there is.
        parent: A column, or None for the top of the taxonomy, where there is one.
        name: A column, or "name" for the primary name.

    Raises:
        InputError: If none of the columns known for categories is there.
    """
    if category == "category":
        present = [choice for choice in CATEGORY if header.has(choice)]
        if not present:
            raise InputError(
                "config.pois.format is 'overture', but the file has none of "
                f"{', '.join(CATEGORY)}; its columns: {', '.join(header.columns)}. Is "
                "it an extract of the theme places? Else set config.pois.format to "
                "'table' and name config.pois.category_column."
            )
        category = present[0]
    if parent is None and header.has(_PARENT):
        parent = _PARENT
    if name == "name" and header.has(NAME):
        name = NAME
    logging.info(
        "Overture Places: category from %s, first level from %s, name from %s",
        category,
        parent or "no column",
        name,
    )
    return category, parent, name
