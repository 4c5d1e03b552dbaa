"""Eight CPU devices, checked annotations, and a small city's records for every test."""

import os
import sys
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".pytest_cache"

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
# Programs compiled once serve every test and every process a test starts.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{CACHE}/xla")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))  # helper modules beside the tests
install_import_hook(["mmgr_jax", "data_prep"], "beartype.beartype")

from small_records import write_records  # noqa: E402


@pytest.fixture(scope="session")
def records_dir(tmp_path_factory):
    """Forty regions of 32 px with POIs and all kinds of labels; some sets are empty."""
    return write_records(tmp_path_factory.mktemp("records"))


@pytest.fixture
def small_config(records_dir, tmp_path):
    """The toy city's config on the small records: seconds a run."""
    from configs import toy_city

    config = toy_city.get_config("smoke")
    config.workdir = str(tmp_path / "run")
    config.records.dir = str(records_dir)
    config.data.batch_size = 16
    config.data.num_threads = 2
    config.augment.size_px = 32
    config.mesh.data = 1
    config.train.total = "4 steps"
    config.train.save_every = "2 steps"
    config.eval.num_folds = 4
    return config
