"""Brings names of regions, categories, classes and columns into one form to compare.

Two files may write one name in different ways. So letters with accents are composed
(NFC), invisible characters are dropped, and every kind of space becomes a space.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

# Control characters, zero-width spaces, soft hyphens, byte order marks, marks of the
# writing direction.
_UNSEEN = (
    "[\x01-\x08\x0e-\x1f\x7f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"
    r"\x00]"
)
# Joiners shape letters and emoji, so only at the ends do they say nothing.
_JOINERS = "\u200c\u200d"
_SPACES = "[\t\n\v\f\r\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"


def one_form(name: str) -> str:
    """A name in the form in which names are compared, without space around it."""
    if name.isascii() and name.isprintable():
        return name.strip()
    composed = unicodedata.normalize("NFC", re.sub(_UNSEEN, "", name))
    return re.sub(_SPACES, " ", composed).strip().strip(_JOINERS).strip()


def all_in_one_form(names: pa.Array) -> pa.Array:
    """Many names, each as `one_form` has it, missing where one is missing."""
    plain = pc.all(pc.string_is_ascii(names)).as_py()
    odd = pc.any(pc.match_substring_regex(names, _UNSEEN)).as_py()
    odd = odd or pc.any(pc.match_substring_regex(names, _SPACES)).as_py()
    if odd:
        names = pc.replace_substring_regex(names, _UNSEEN, "")
    if plain is False:
        # Arrow's own NFC leaves letters apart from their accents (25.0).
        texts = names.to_pylist()
        composed = [text and unicodedata.normalize("NFC", text) for text in texts]
        names = pa.array(composed, pa.string())
    if odd:
        names = pc.replace_substring_regex(names, _SPACES, " ")
    names = pc.utf8_trim_whitespace(names)
    if plain is False:
        names = pc.utf8_trim_whitespace(pc.utf8_trim(names, characters=_JOINERS))
    return names


def alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Names that differ only in case, width or space, such as "ATM" and "atm"."""
    groups: dict[str, list[str]] = {}
    for name in names:
        wide = unicodedata.normalize("NFKC", name).casefold()
        for joiner in _JOINERS:
            wide = wide.replace(joiner, "")
        groups.setdefault(" ".join(wide.split()), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]
