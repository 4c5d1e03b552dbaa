"""Chooses the categories of POIs: those of the file, or a list that cities share."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Int32

from data_prep.files import cells, tables
from data_prep.pois.settings import CategoryListSettings
from mmgr_jax.data.names import one_form
from mmgr_jax.errors import InputError

_NAMES_SHOWN = 5
_NAME, _PARENT = "category", "parent"


@dataclasses.dataclass(frozen=True)
class CategoryList:
    """A list of categories, in an order that decides their ids.

    Attributes:
        names: The categories, each once.
        parents: Their first-level categories; empty: taken from the file of POIs.
        other: Category of POIs whose own is not in the list; None: such POIs are left
            out.
    """

    names: tuple[str, ...]
    parents: tuple[str, ...]
    other: str | None


def shared_list(settings: CategoryListSettings) -> CategoryList | None:
    """Returns the list that `config.pois.categories` names; None if it names none.

    Raises:
        InputError: If the list is empty, repeats a name, or lacks `unknown`.
    """
    path, unknown = settings.path, settings.unknown
    if path is None:
        if unknown is None:
            return None
        raise InputError(
            f"config.pois.categories.unknown is {unknown!r}, but there is no list. "
            "Give config.pois.categories.path, too, or set None."
        )
    where = f"config.pois.categories.path {path!r}"
    names, parents = (tuple(map(one_form, column)) for column in _read(path))
    if not names:
        raise InputError(f"{where}: holds no category. Write one in each row.")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(
            f"{where}: {', '.join(map(repr, repeated[:_NAMES_SHOWN]))} occurs more "
            "than once; name each category once."
        )
    unknown = None if unknown is None else one_form(unknown)
    if unknown is not None and unknown not in names:
        raise InputError(
            f"config.pois.categories.unknown is {unknown!r}, which is not in the list "
            f"({where}); add it, or set None to leave such POIs out."
        )
    return CategoryList(names, parents, unknown)


def own_list(category: pd.Series) -> CategoryList:
    """Returns the categories that occur, sorted; warns of names that look alike."""
    names = tuple(sorted(set(category.astype(str))))
    cells.tell_alike(names, "categories of POIs")
    return CategoryList(names, (), None)


def unlisted(
    category: pd.Series, listed: CategoryList | None
) -> Bool[np.ndarray, " n"]:
    """Finds POIs whose category is not in a list; without a list, none.

    It logs the most common of these categories.
    """
    if listed is None:
        return np.zeros(len(category), bool)
    unknown = (category.notna() & ~category.isin(listed.names)).to_numpy(bool)
    if unknown.any():
        counts = category[unknown].value_counts()
        shown = ", ".join(f"{n!r} ({c:,})" for n, c in counts[:_NAMES_SHOWN].items())
        logging.warning(
            "%d POIs of %d categories that are not in the list %s: %s%s",
            unknown.sum(),
            len(counts),
            "are left out" if listed.other is None else f"count as {listed.other!r}",
            shown,
            ", ..." if len(counts) > _NAMES_SHOWN else "",
        )
    return unknown


def ids_of(category: pd.Series, listed: CategoryList) -> Int32[np.ndarray, " n"]:
    """Index of each POI's category in a list [n]; that of `other` if it is missing."""
    ids = pd.Index(listed.names).get_indexer(category.to_numpy(object))
    if listed.other is not None:
        ids = np.where(ids < 0, listed.names.index(listed.other), ids)
    assert (ids >= 0).all()
    return ids.astype(np.int32)


def parents_of(
    listed: CategoryList, ids: Int[np.ndarray, " n"], parent: pd.Series | None
) -> tuple[str, ...]:
    """Returns the first-level category of each category of a list.

    Args:
        listed: The list; its own parents come first.
        ids: Category of each POI [n].
        parent: First-level category of each POI as the file has it [n], or None.

    Returns:
        The list's own parent; if it has none, the most frequent one of the category's
        POIs; if they have none, the category itself.
    """
    if listed.parents:
        return listed.parents
    if parent is None:
        return listed.names
    pairs = pd.DataFrame(dict(id=ids, parent=parent.to_numpy(object)))
    counts = pairs.dropna().value_counts().reset_index(name="count")
    counts = counts.sort_values(
        ["id", "count", "parent"], ascending=[True, False, True]
    )
    torn = counts["id"][counts["id"].duplicated()].unique()
    if len(torn):
        logging.warning(
            "categories with several parents, of which the most frequent is used: %s",
            ", ".join(listed.names[index] for index in torn[:_NAMES_SHOWN]),
        )
    first = counts.drop_duplicates("id").set_index("id")["parent"].to_dict()
    return tuple(str(first.get(index, name)) for index, name in enumerate(listed.names))


def problems(settings: CategoryListSettings) -> list[str]:
    """Lists what is wrong with `config.pois.categories`."""
    try:
        shared_list(settings)
    except InputError as error:
        return [str(error)]
    return []


def _read(path: str) -> tuple[list[str], list[str]]:
    if not Path(path).is_file():
        raise InputError(
            f"config.pois.categories.path {path!r}: no such file. Wanted: a CSV with a "
            "column 'category' and, if there are first-level categories, 'parent'."
        )
    has = tables.header(path).columns
    table = tables.load(path)
    if _NAME not in has:
        raise InputError(
            f"{path}: has no column {_NAME!r}; its columns: {', '.join(has)} "
            "(config.pois.categories.path)."
        )
    names = cells.text(table[_NAME], f"{path}: column {_NAME!r}")
    if names.isna().any():
        row = int(np.argmax(names.isna())) + 1
        raise InputError(f"{path}: row {row} has no {_NAME}; fill or delete it.")
    if _PARENT not in has:
        return names.tolist(), []
    parents = cells.text(table[_PARENT], f"{path}: column {_PARENT!r}")
    return names.tolist(), parents.fillna(names).tolist()
