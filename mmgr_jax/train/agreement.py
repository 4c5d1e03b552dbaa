"""Checks that processes that train together share program, config and records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mmgr_jax import __version__
from mmgr_jax.devices import distributed
from mmgr_jax.errors import InputError
from mmgr_jax.store import identity

_SHARED = ("mesh", "sharding")  # the same in all processes; a restart may change them
_OWN = ("data.num_threads", "data.cache_mib")  # may differ between processes


def agree(config: Mapping[str, Any]) -> None:
    """Refuses to train with processes of another program or of other settings.

    All processes must call it at the same time; a single process always agrees.

    Args:
        config: The config as a dictionary.

    Raises:
        InputError: In every process, if one differs from process 0; the message names
            the first one and what differs.
    """
    sections = {name: config[name] for name in (*identity.TRAINING, *_SHARED)}
    settings = identity.flat(sections) | {"version": __version__}
    _ask({key: value for key, value in settings.items() if key not in _OWN})


def agree_on_records(records: Mapping[str, str]) -> None:
    """Refuses to train with processes that see other records.

    Args:
        records: `RecordSource.identity`.

    Raises:
        InputError: In every process, as for `agree`.
    """
    _ask({f"records.{part}": records[part] for part in identity.SEEN})


def _ask(settings: Mapping[str, Any]) -> None:
    if verdict := distributed.judged(json.dumps(settings), _judge):
        raise InputError(verdict)


def _judge(texts: Sequence[str]) -> str:
    """Returns the verdict of process 0: "" if all texts are the same."""
    for process, text in enumerate(texts):
        if text != texts[0]:
            pair = json.loads(texts[0]), json.loads(text)
            differences = [
                f"{key}: {pair[0].get(key)!r} in process 0, {pair[1].get(key)!r} in "
                f"process {process}"
                for key in sorted(pair[0].keys() | pair[1].keys())
                if pair[0].get(key) != pair[1].get(key)
            ]
            return (
                f"the processes were started differently ({'; '.join(differences)}). "
                "Start all of them with the same program, config and records."
            )
    return ""
