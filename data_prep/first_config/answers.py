"""Settings that files can answer, and questions that only the user can answer."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

from data_prep.files.fetched import SOURCES_FILE, Fetched

_YEAR = re.compile(r"(?<!\d)(?:19[5-9]\d|20[0-4]\d)(?!\d)")
_WORD = re.compile(r"[a-z]+|\d+")


@dataclasses.dataclass(frozen=True)
class Answer:
    """The value of one setting.

    Attributes:
        value: The value to write; the best guess where there is a question.
        why: How the files show it, in a few words; "": the template's comment stays.
        ask: The question that only the user can answer; None where the files answer.
    """

    value: Any
    why: str = ""
    ask: str | None = None


class Written(str):
    """A value that is written unchanged into the config, such as "256 / 224"."""


Answers = dict[str, Answer]
"""Setting, such as "c.imagery.bands" -> its answer."""


def questions(answers: Answers) -> list[tuple[str, str]]:
    """Returns the settings with a question, and the question."""
    return [(key, answer.ask) for key, answer in answers.items() if answer.ask]


def recorded(section: str, record: Fetched | None) -> Answers:
    """Returns source, licence and year from a record next to the files.

    Args:
        section: Section of the config, such as "c.imagery".
        record: The record from `data_prep.files.fetched`; None: there is none.
    """
    if record is None:
        return {}
    values = {"source": record.source, "licence": record.licence, "year": record.year}
    why = f"by {SOURCES_FILE}"
    return {
        f"{section}.{key}": Answer(value, why) for key, value in values.items() if value
    }


def year_in(texts: Iterable[str]) -> int | None:
    """Returns the one year in names; None where there is none or several."""
    years = {int(year) for text in texts for year in _YEAR.findall(text)}
    return years.pop() if len(years) == 1 else None


def words(name: str) -> list[str]:
    """Splits a column's or file's name: "POI_Type2" -> ["poi", "type", "2"]."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return _WORD.findall(parted.casefold())


def named(columns: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Returns columns whose names contain one of some words, by order of the words."""
    ranked = []
    for place, column in enumerate(columns):
        of_name = words(column)
        ranks = [rank for rank, word in enumerate(wanted) if word in of_name]
        if ranks:
            # Of two with the same word the plainer name: "category" before
            # "category_code".
            ranked.append((min(ranks), len(of_name), place, column))
    return [column for *_, column in sorted(ranked)]
