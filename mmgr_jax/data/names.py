"""Names as they are compared: of regions, categories, classes and columns.

What two files call by one name is one name here: letters with accents are composed
(NFC), characters that nobody sees are dropped, and every kind of space is a space.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Zero-width spaces, soft hyphens, byte order marks, marks of the writing direction.
_UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
# Joiners shape letters and emoji, so only at the ends do they say nothing.
_JOINERS = "\u200c\u200d"
_SPACE = re.compile(r"[^\S ]")


def one_form(name: str) -> str:
    """A name in the form in which names are compared, without space around it."""
    if name.isascii():
        return name.strip()
    composed = unicodedata.normalize("NFC", _UNSEEN.sub("", name))
    return _SPACE.sub(" ", composed).strip().strip(_JOINERS).strip()


def alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Names that only case, width or space tell apart, such as "ATM" and "atm"."""
    groups: dict[str, list[str]] = {}
    for name in names:
        wide = unicodedata.normalize("NFKC", name).casefold()
        for joiner in _JOINERS:
            wide = wide.replace(joiner, "")
        groups.setdefault(" ".join(wide.split()), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]
