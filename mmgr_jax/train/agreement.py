"""Processes that train together: of one program, one config and the same records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mmgr_jax import __version__
from mmgr_jax.devices import distributed
from mmgr_jax.errors import InputError
from mmgr_jax.store import identity

_SHARED = ("mesh", "sharding")  # the same for all processes, if not for a restart
_OWN = ("data.num_threads", "data.cache_mib")  # of each process


def agree(config: Mapping[str, Any]) -> None:
    """Refuses to train with processes of another program or of other settings.

    Every process asks at the same time; one alone agrees with itself.

    Args:
        config: As a dictionary.

    Raises:
        InputError: In every process, naming the first other process and what differs.
    """
    sections = {name: config[name] for name in (*identity.TRAINING, *_SHARED)}
    settings = identity.flat(sections) | {"version": __version__}
    _ask({key: value for key, value in settings.items() if key not in _OWN})


def agree_on_records(records: Mapping[str, str]) -> None:
    """Refuses to train with processes that see other records.

    Args:
        records: `RecordSource.identity`.

    Raises:
        InputError: In every process, as above.
    """
    _ask({f"records.{part}": records[part] for part in identity.SEEN})


def _ask(settings: Mapping[str, Any]) -> None:
    if verdict := distributed.judged(json.dumps(settings), _judge):
        raise InputError(verdict)


def _judge(texts: Sequence[str]) -> str:
    """What the first process says to all: "" where all said the same."""
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
