"""How to install the optional packages that a part of the program needs."""

from __future__ import annotations

_FILES = {"torch": "convert"}
"""Extras whose requirements file has another name."""


def install(extra: str) -> str:
    """The command that installs an extra, with a checkout and without one.

    Args:
        extra: A key of `project.optional-dependencies` in pyproject.toml, such as
            "fetch".

    Returns:
        A part of a sentence, such as "`pip install -r requirements-fetch.txt` (or,
        without a checkout, `pip install 'mmgr-jax[fetch]'`)".
    """
    return (
        f"`pip install -r requirements-{_FILES.get(extra, extra)}.txt` (or, without a "
        f"checkout, `pip install 'mmgr-jax[{extra}]'`)"
    )
