"""What licences require, and the names that the Hugging Face Hub has for them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmgr_jax.card.lines import UNKNOWN, cell, listed

_HUB_LICENCES = (
    "apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "odbl", "bsd-3-clause",
    "gpl-3.0", "openrail",
)  # fmt: skip
"""Names that the Hugging Face Hub knows a licence by."""

_TERMS = (
    (
        r"odbl|open database|openstreetmap",
        "name the source wherever results are shown; of OpenStreetMap by "
        '"© OpenStreetMap contributors" and a link to openstreetmap.org/copyright. '
        "A database derived from the data must be offered under "
        "the ODbL if it is published; whether weights or embeddings are one, this card "
        "cannot say.",
    ),
    (r"\bcc.?by.*nc|non.?commercial", "no commercial use."),
    (r"\bcc.?by.*sa|share.?alike", "what is derived goes under the same licence."),
    (r"\bcc.?by.*nd|no.?deriv", "nothing derived from it may be shared."),
    (
        r"\bcc.?by",
        "credit whoever made it, link the licence, and say what was changed.",
    ),
    (r"\b(mit|bsd|apache)\b", "keep its notice with what you pass on."),
    (
        r"\bcdla.?permissive",
        "pass its text on with the data; what is made of them is free.",
    ),
    (r"\bcc.?0|public domain", "nothing is asked for; naming the source is good use."),
)
"""What a licence asks for, by how it may be written."""


def front_matter(licence: str) -> list[str]:
    """Writes the lines of YAML that state a licence.

    Args:
        licence: The licence as its owner calls it; "" if nobody stated it.
    """
    name = re.sub(r"[\s_]+", "-", licence.lower())
    if name in _HUB_LICENCES:
        return [f"license: {name}"]
    if name:
        return ["license: other", f"license_name: {json.dumps(licence)}"]
    return ["license: unknown"]


def obligations(cities: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lists what each licence of the sources requires, and which sources have it.

    Args:
        cities: See `data.facts`.
    """
    owners: dict[str, list[str]] = {}
    unknown = []
    for one in cities:
        parts = {"imagery": one["imagery"], "POIs": one["pois"]}
        parts |= {f"label {name}": label for name, label in one["labels"].items()}
        for what, origin in parts.items():
            place = f"{what} of {one['city']}"
            source = origin.get("source")
            if licence := origin.get("licence"):
                owner = f"{source} ({place})" if source else place
                owners.setdefault(licence, []).append(owner)
            else:
                unknown.append(place)
    lines = []
    if not owners and not unknown:
        return [f"The sources are {UNKNOWN}: find out before you publish."]
    for licence, whose in sorted(owners.items()):
        lines.append(f"- {cell(licence)}, {cell(listed(whose))}: {_terms(licence)}")
    if unknown:
        lines.append(
            f"- licence {UNKNOWN}, {cell(listed(unknown))}: find out before you "
            "publish."
        )
    return lines


def _terms(licence: str) -> str:
    known = [
        terms
        for pattern, terms in _TERMS
        if re.search(pattern, licence, flags=re.IGNORECASE)
    ]
    return " ".join(known) or "read its terms; this card does not know them."
