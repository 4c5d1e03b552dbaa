"""Optional packages: how to install what a part of the program needs besides."""

from __future__ import annotations

_FILES = {"torch": "convert"}
"""Extras whose requirements file has another name."""


def install(extra: str) -> str:
    """The command that brings an extra: in a checkout, and where there is none.

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
