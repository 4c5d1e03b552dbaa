"""`python -m mmgr_jax.explore`: a page over a city's embeddings."""

from __future__ import annotations

import logging
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from mmgr_jax import cli, run_settings
from mmgr_jax.devices import distributed
from mmgr_jax.devices.settings import FOR_FEATURES
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.explore import city, content, document, serve, server

USAGE = """Writes one HTML page over a city's embeddings.

It opens by a double click, with the network off: imagery, regions, labels, predictions
with their intervals, groups of alike regions, and a search for what is alike. Features
and heads are those of `mmgr_jax.eval` and `mmgr_jax.embed`; what is missing is made.
docs/explore.md has the details. It needs `pip install -r requirements-explore.txt`.

  python -m mmgr_jax.explore --config=configs/toy_city.py
  python -m mmgr_jax.explore --config=... --out=city.html
  python -m mmgr_jax.explore --config=... --config.embed.features=both
  python -m mmgr_jax.explore --config=... --serve

--serve writes no file but opens the page by a small server, up to 1,000,000 regions; it
listens on this machine alone. --host and --port name another place: then a token in its
address keeps strangers out.
"""

NAME = "explore.html"

log = logging.getLogger(__name__)


def explore(config: ConfigDict, out: str | None = None) -> Path:
    """Writes the page of a city.

    Args:
        config: Of the city.
        out: A file ending in .html; None: `explore.html` in the workdir.

    Returns:
        The file.

    Raises:
        InputError: If records or checkpoint are missing or do not fit, nobody knows
            where regions lie, the map library is not installed, or the name of the
            file does not end in .html.
    """
    if out is not None and not out.endswith(".html"):
        raise InputError(f"--out={out!r}; allowed: a file ending in .html.")
    path = Path(out or Path(run_settings.read(config).workdir) / NAME)
    document.require_library()
    made = content.of(city.gather(config))
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        files.replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as stream,
    ):
        for part in document.write(made):
            stream.write(part)
    log.info(
        "page of %d regions, %.1f MB: %s (open it by a double click)",
        len(made.about["ids"]), path.stat().st_size / 1e6, path,
    )  # fmt: skip
    return path


def main() -> None:
    """Entry point of `python -m mmgr_jax.explore`."""
    out = flags.DEFINE_string("out", None, "The page: a file ending in .html.")
    serves = flags.DEFINE_bool("serve", False, "Whether a server answers the page.")
    host = flags.DEFINE_string("host", server.HOST, "What the server listens on.")
    port = flags.DEFINE_integer(
        "port", server.PORT, "Of the server; 0: any that is free.", 0, 65535
    )

    def command(config: ConfigDict) -> None:
        if not serves.value:
            explore(config, out.value)
        elif out.value is not None:
            raise InputError("--out and --serve: give one of them.")
        else:
            serve.serve(config, host.value, port.value)

    cli.run(
        distributed.by_first(command),
        USAGE,
        shortcuts=("workdir", "checkpoint"),
        session=cli.session,
        cpu_devices=FOR_FEATURES,
    )
