"""Asks a server again while it may recover."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import requests
import urllib3

from data_prep.fetch import answers
from data_prep.fetch.hosts import public
from mmgr_jax.data import server

T = TypeVar("T")

_CONNECT_S = 15.0

log = logging.getLogger(__name__)


class Patience:
    """How long to wait, and how often to try.

    Attributes:
        waits_s: Seconds between tries.
    """

    def __init__(self, waits_s: Sequence[float], patience_s: float) -> None:
        """Takes the waits, and how long the next bytes may take."""
        self.waits_s, self._patience_s = waits_s, patience_s

    @property
    def timeouts_s(self) -> tuple[float, float]:
        """Timeouts of a connection and of the next bytes."""
        return min(_CONNECT_S, self._patience_s), self._patience_s

    def asked(
        self,
        address: str,
        ask: Callable[[], T],
        waits_s: Sequence[float] | None = None,
    ) -> T:
        """Returns an answer; asks again while the server may recover.

        Args:
            address: Address of the server, for messages.
            ask: Function that asks once.
            waits_s: Seconds between tries; None: the usual waits.

        Raises:
            Unavailable: If the server does not recover.
        """
        failure = server.ServerError("unreachable", "not asked")
        for wait_s in (*(self.waits_s if waits_s is None else waits_s), None):
            try:
                return ask()
            except server.ServerError as error:
                failure = error
            except (
                requests.RequestException,
                urllib3.exceptions.HTTPError,
                OSError,
            ) as error:
                cause = answers.cause_of(error, self._patience_s)
                failure = server.ServerError("unreachable", cause)
            if failure.kind != "unreachable" or wait_s is None:
                break
            self.pause(address, failure, wait_s)
        sentence = answers.sentence(address, failure)
        raise answers.Unavailable(sentence, failure.kind) from failure

    def pause(self, address: str, failure: BaseException | None, wait_s: float) -> None:
        """Waits, longer where the server asks for it, and says why."""
        wait_s *= random.uniform(0.75, 1.25)
        if isinstance(failure, answers.Busy):
            wait_s = max(wait_s, failure.wait_s)
        log.info("%s: %s; trying again in %.1f s", public(address), failure, wait_s)
        time.sleep(wait_s)
