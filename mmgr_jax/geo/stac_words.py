"""Writes the texts in a city's STAC files: sources, licences, years, intervals.

`about` is the part `emb` in the header of a table of embeddings. `facts` is what
`data.facts` returns for the city.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def time(about: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str | None]:
    """The year of the imagery; if it is not known, when the embeddings were made."""
    year = facts["imagery"].get("year")
    if year is None:
        return {"datetime": utc(about["created"])}
    start, end = f"{year:04d}-01-01T00:00:00Z", f"{year:04d}-12-31T23:59:59Z"
    return {"datetime": None, "start_datetime": start, "end_datetime": end}


def description(about: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Describes the data of the embeddings in one to three sentences."""
    text = (
        f"A vector of {about['dimensions']} numbers for each region of "
        f"{about['city']}, from {about['features']} features. {sources(facts)}"
    )
    if facts["imagery"].get("year") is None:
        text += (
            " The year of the imagery is not recorded: `datetime` is when the "
            "embeddings were made."
        )
    return text


def sources(facts: Mapping[str, Any]) -> str:
    """Lists the input data, with year and licence."""
    parts = [
        f"{what}: {', '.join(_known(one)) or 'source not recorded'}"
        for what, one in _inputs(facts)
    ]
    return f"{'; '.join(parts)}."


def providers(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lists the providers that licensed the input data."""
    return [
        {
            "name": str(one["source"]),
            "description": f"{what}: {', '.join(_known(one))}",
            "roles": ["licensor"],
        }
        for what, one in _inputs(facts)
        if one.get("source")
    ]


def uncertainty(about: Mapping[str, Any]) -> dict[str, str]:
    """Makes the value of `emb:uncertainty`."""
    return {
        "method": "conformal_intervals",
        "description": (
            "Of the predictions: columns and bands named low and high are limits of "
            f"{about['interval_level']:.0%} intervals. Embeddings themselves have none."
        ),
    }


def utc(moment: str) -> str:
    """Turns a UTC time in ISO 8601 into the form of RFC 3339."""
    return moment.removesuffix("+00:00").removesuffix("Z") + "Z"


def _inputs(facts: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    labels = [(f"Label {name}", label) for name, label in facts["labels"].items()]
    return [("Imagery", facts["imagery"]), ("POIs", facts["pois"]), *labels]


def _known(one: Mapping[str, Any]) -> list[str]:
    return [str(one[key]) for key in ("source", "year", "licence") if one.get(key)]
