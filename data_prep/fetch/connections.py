"""Connections that check which host they have reached before they send anything."""

from __future__ import annotations

from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from data_prep.fetch.hosts import Hosts
from mmgr_jax.errors import InputError


def session(hosts: Hosts) -> requests.Session:
    """Makes a session: the environment's proxies and certificates, no ~/.netrc."""
    made = requests.Session()
    made.auth = lambda request: request
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter(hosts))
    return made


class _Adapter(HTTPAdapter):
    """Looks at each connection by `Hosts.check_peer`; a proxy's is its own."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        super().__init__(max_retries=0, pool_maxsize=16)

    def init_poolmanager(self, *given: Any, **options: Any) -> None:
        super().init_poolmanager(*given, **options)
        hosts = self._hosts

        class Plain(HTTPConnection):
            def _new_conn(self) -> Any:
                return _seen(hosts, self, super()._new_conn())

        class Secure(HTTPSConnection):
            def _new_conn(self) -> Any:
                return _seen(hosts, self, super()._new_conn())

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain  # pyright: ignore[reportAssignmentType]

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure  # pyright: ignore[reportAssignmentType]

        pools = {"http": PlainPool, "https": SecurePool}
        self.poolmanager.pool_classes_by_scheme = pools


def _seen(hosts: Hosts, connection: Any, line: Any) -> Any:
    try:
        hosts.check_peer(connection.host, connection.port, line.getpeername()[0])
    except InputError:
        line.close()
        raise
    return line
