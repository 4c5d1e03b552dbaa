"""Every private part of JAX that this program uses, and why.

A new version of JAX may change any of these without notice; tests of each use would
fail. (`endings` also names two files of JAX that raise errors.)
"""

from __future__ import annotations

import math
import os

# The launchers that JAX knows (SLURM, Open MPI, Cloud TPU) say which of several
# processes this is. JAX asks them only in `initialize`, which then waits for others.
from jax._src import clusters, distributed

# The cache of compiled programs: here a checksum is added to what it writes and reads.
from jax._src import compilation_cache as compilation_cache
from jax._src.compilation_cache_interface import CacheInterface as CacheInterface

# Who this process is, without starting its devices, and the service that joined the
# processes: its barrier and its store need no devices and no time limit.
joined = distributed.global_state


def detect_launcher(timeout_s: float) -> tuple:
    """Returns coordinator, number of processes, this process and its devices.

    Each is None if unknown.
    """
    return clusters.ClusterEnv.auto_detect_unset_distributed_params(
        os.environ.get("JAX_COORDINATOR_ADDRESS"), None, None, None, None,
        math.ceil(timeout_s),
    )  # fmt: skip
