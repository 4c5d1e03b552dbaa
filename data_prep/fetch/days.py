"""Reads the days of scenes that a command names."""

from __future__ import annotations

import datetime as dt

from mmgr_jax.errors import InputError


def days(text: str) -> tuple[dt.date | None, dt.date | None]:
    """First and last day of "2020", "2020-06", "2020-06-01/2020-08-31" or "2020/..".

    Raises:
        InputError: If the text has none of these forms.
    """
    if not text:
        return None, None
    first, slash, last = text.partition("/")
    try:
        begin = None if first in ("", "..") else _day(first, end=False)
        end = _day(last if slash else first, end=True) if last != ".." else None
    except ValueError as error:
        raise InputError(
            f"--dates={text}: wanted: a year, a month or a day, or two of them, such "
            "as 2020, 2020-06 or 2020-05-01/2020-09-30."
        ) from error
    if begin and end and begin > end:
        raise InputError(f"--dates={text}: the first day comes after the last.")
    return begin, end


def _day(text: str, *, end: bool) -> dt.date:
    parts = [int(part) for part in text.split("-")]
    if not 1 <= len(parts) <= 3:
        raise ValueError(text)
    if len(parts) == 3:
        return dt.date(*parts)
    year, month = parts[0], parts[1] if len(parts) == 2 else (12 if end else 1)
    if not end:
        return dt.date(year, month, 1)
    following = dt.date(year + month // 12, month % 12 + 1, 1)
    return following - dt.timedelta(days=1)
