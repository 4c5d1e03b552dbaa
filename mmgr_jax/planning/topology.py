"""Makes a mesh of the devices of this machine, or of a TPU slice elsewhere."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.extras import install
from mmgr_jax.planning.names import HERE, TPU_SLICES

# libtpu looks for a TPU machine; compiling needs none.
_NO_MACHINE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no chip is opened, so none is locked
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "3",
}


def mesh_of(topology: str, settings: MeshSettings, num_slices: int = 1) -> Mesh:
    """Makes a mesh over the chips of a topology.

    Args:
        topology: "here" for the devices of this machine, or a TPU generation and the
            shape of a slice, such as "v5e:16x16".
        settings: The section `mesh`.
        num_slices: Number of slices of that shape, joined by their hosts' network.

    Raises:
        InputError: If libtpu is not installed or knows no such topology.
    """
    if topology == HERE and num_slices > 1:
        raise InputError(
            f"--num_slices={num_slices}: name the shape of a slice, such as "
            "--topology=v5e:16x16; the devices at hand say their slices themselves."
        )
    devices = None if topology == HERE else _tpu_devices(topology, num_slices)
    return sharding.make_mesh(settings, devices)


def _tpu_devices(topology: str, num_slices: int) -> Sequence[Any]:
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            f"--topology={topology}: compiling for TPUs needs jax[tpu], which is not "
            "installed. Make a virtual environment of its own (`python -m venv "
            f".venv_plan && . .venv_plan/bin/activate`), run {install('plan')} there, "
            "and give the command again; or take --topology=here."
        )
    for name, value in _NO_MACHINE.items():
        os.environ.setdefault(name, value)
    jax.config.update("jax_platforms", "cpu")  # even on a TPU VM, whose chips are busy
    try:
        several = {"num_slices": num_slices} if num_slices > 1 else {}
        described = topologies.get_topology_desc(
            platform="tpu", topology_name=topology, **several
        )
    except Exception as error:  # libtpu's own types, by version
        raise InputError(
            f"--topology={topology!r}: libtpu describes no such slice "
            f"({_first_line(error)}). Write a generation and the shape of a slice, "
            f"such as {', '.join(TPU_SLICES)}, or {HERE!r} for the devices at hand."
        ) from error
    return list(described.devices)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
