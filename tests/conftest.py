"""Eight CPU devices, checked annotations, and a small city's records for every test."""

import os
import sys
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".pytest_cache"

sys.path.insert(0, str(Path(__file__).parent))  # helper modules beside the tests
import processes  # noqa: E402

# What is rewritten, checked or run by a process of its own is compiled once, and never
# beside a config that a test writes, among files that it compares.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.pycache_prefix = os.environ.setdefault("PYTHONPYCACHEPREFIX", f"{CACHE}/bytecode")

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    f"{processes.QUICK} {os.environ.get('XLA_FLAGS', '')} {processes.devices_flag(8)}"
)
# Programs compiled once serve every test and every process a test starts.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{CACHE}/xla")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import checks  # noqa: E402
import pytest  # noqa: E402

checks.install(["mmgr_jax", "data_prep"])

from small_records import config_of, write_records  # noqa: E402


@pytest.fixture(scope="session")
def records_dir(tmp_path_factory):
    """Forty regions of 32 px with POIs and all kinds of labels; some sets are empty."""
    return write_records(tmp_path_factory.mktemp("records"))


@pytest.fixture
def small_config(records_dir, tmp_path):
    """The toy city's config on the small records: seconds a run."""
    return config_of(records_dir, tmp_path)
