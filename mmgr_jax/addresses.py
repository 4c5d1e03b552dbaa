"""Addresses of folders on object storage, such as "s3://bucket/city/records"."""

from __future__ import annotations

import os
import re

from mmgr_jax.errors import InputError

SIGNED_URLS = "MMGR_SIGNED_URLS"
"""Environment variable: signed addresses of folders, separated by spaces."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")


def is_address(place: object) -> bool:
    """Whether a text names a folder on object storage, not a path on disk."""
    return isinstance(place, str) and bool(_SCHEME.match(place))


def signed_query(address: str) -> str:
    """The signed query that the environment gives for an address; "" for none.

    Args:
        address: Of a file or folder, without a query.
    """
    for signed in os.environ.get(SIGNED_URLS, "").split():
        prefix, mark, query = signed.partition("?")
        prefix = prefix.rstrip("/")
        if mark and (address == prefix or address.startswith(f"{prefix}/")):
            return query
    return ""


def checked(address: str, key: str = "config.records.dir") -> str:
    """Checks that an address is safe to show and store; removes a slash at its end.

    Args:
        address: The address as the user gave it.
        key: The setting that holds it, for the message.

    Raises:
        InputError: If the address holds a credential, which the message does not
            repeat; or if it begins with "file://" or holds "::".
    """
    bare, mark, query = address.partition("?")
    scheme, _, rest = bare.partition("://")
    signed = bool(mark) if scheme.startswith("http") else "=" in query
    if signed or "@" in rest.partition("/")[0]:
        raise InputError(
            f"{key}: this address holds a password or a query (as signed addresses "
            "do), which would be written into checkpoints and reports. Name it "
            "without these, and give the whole signed address of the folder in "
            f"{SIGNED_URLS} (several separated by spaces)."
        )
    if scheme == "file" or "::" in address:
        raise InputError(
            f"{key}={address!r}: name the folder by its path, or by its own address."
        )
    return address.rstrip("/")
