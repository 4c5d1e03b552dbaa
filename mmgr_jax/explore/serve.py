"""Serves a city's page, for more regions than one file can hold."""

from __future__ import annotations

import logging
from pathlib import Path

from ml_collections import ConfigDict
from threadpoolctl import threadpool_limits

from mmgr_jax import run_settings
from mmgr_jax.data import schema
from mmgr_jax.disk import locks
from mmgr_jax.explore import city, document, served
from mmgr_jax.explore.server import CityServer
from mmgr_jax.geo import pmtiles

log = logging.getLogger(__name__)


def serve(config: ConfigDict, host: str, port: int) -> None:
    """Serves the page of a city until Ctrl-C.

    Args:
        config: Configuration of the city.
        host: Address of this machine.
        port: Port to listen on; 0: any free port.

    Raises:
        InputError: If records or checkpoint are missing or do not fit, the places of
            regions are not known, a package is not installed, or the server cannot
            listen there.
    """
    document.require_library()
    pmtiles.require_packages()
    gathered = city.gather(config, served=True)
    records = Path(config.records.dir) / schema.MANIFEST_FILE
    with locks.kept(records), threadpool_limits(1):  # a thread a core is our own work
        made = served.prepare(gathered, Path(run_settings.read(config).workdir))
        del gathered  # outlines and features, which now lie in files
        answer(CityServer(made, host, port))


def answer(server: CityServer) -> None:
    """Answers until Ctrl-C, then closes."""
    log.info("open %s in a browser; Ctrl-C ends it", server.url)
    if server.token:
        log.warning(
            "--host=%s: whoever has this address sees imagery, POIs and labels, over "
            "a connection that is not encrypted", server.host,
        )  # fmt: skip
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        log.info("the server has ended")
    finally:
        server.server_close()
