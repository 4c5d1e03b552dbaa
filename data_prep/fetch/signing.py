"""Adds signatures to addresses, from the environment or from their issuer."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from data_prep.fetch.hosts import Signer, public
from data_prep.fetch.http import Client
from mmgr_jax.addresses import signed_query
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
PLANETARY_COMPUTER_KEY = "PC_SDK_SUBSCRIPTION_KEY"
"""Environment variable: a subscription key, which raises the limits; not needed."""

_BLOBS = ".blob.core.windows.net"
_EARLY_S = 60.0


class FromEnvironment:
    """Signs addresses with the query that `MMGR_SIGNED_URLS` has for them."""

    def signed(self, address: str, *, anew: bool) -> str:
        """Returns the address with the query that the environment has for it."""
        del anew
        query = signed_query(address)
        if not query:
            return address
        return f"{address}{'&' if '?' in address else '?'}{query}"


class PlanetaryComputer:
    """Microsoft Planetary Computer tokens, one per container, until they expire."""

    def __init__(self, client: Client, tokens: str, blobs: str = _BLOBS) -> None:
        """Asks for nothing yet.

        Args:
            client: Who asks; unsigned.
            tokens: Address that gives tokens, such as `PLANETARY_COMPUTER`.
            blobs: How the hosts end whose addresses are signed.
        """
        self._client, self._address, self._blobs = client, tokens, blobs
        self._tokens: dict[str, tuple[str, float]] = {}

    def signed(self, address: str, *, anew: bool) -> str:
        """Returns the address, with a token if it lies in a container.

        Raises:
            InputError: If no token is issued.
        """
        parts = urlsplit(address)
        host, path = parts.netloc, parts.path.lstrip("/")
        if not host.endswith(self._blobs) or "/" not in path:
            return address
        place = f"{host.partition('.')[0]}/{path.partition('/')[0]}"
        secret, expiry = self._tokens.get(place, ("", 0.0))
        if anew or time.time() > expiry - _EARLY_S:
            secret, expiry = self._tokens[place] = self._token(place)
        return f"{address}{'&' if parts.query else '?'}{secret}"

    def _token(self, place: str) -> tuple[str, float]:
        address = f"{self._address}/{place}"
        key = os.environ.get(PLANETARY_COMPUTER_KEY)
        headers = {"Ocp-Apim-Subscription-Key": key} if key else {}
        text = self._client.document(address, headers=headers, keep=False)
        try:
            answer: Any = files.from_json(text)
            expiry = dt.datetime.fromisoformat(answer["msft:expiry"])
            return str(answer["token"]), expiry.timestamp()
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{public(address)}: its answer holds no token (`token` and "
                "`msft:expiry`). Give the command again later, or take another "
                "source."
            ) from error


SIGNERS: dict[str, Callable[[Client], Signer]] = {
    "environment": lambda _: FromEnvironment(),
    "planetary_computer": lambda client: PlanetaryComputer(client, PLANETARY_COMPUTER),
}
"""By the name that `--sign` has for them; each is given a client that signs nothing."""
