"""Eight CPU devices, checked annotations, and a small city's records for every test."""

import gc
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

import browser as browser_lib  # noqa: E402
import checks  # noqa: E402
import pytest  # noqa: E402

checks.install(["mmgr_jax", "data_prep"])

from small_records import config_of, write_records  # noqa: E402

LONGEST = (
    "test_encoder", "test_eval", "test_main", "test_train", "test_streaming",
    "test_convert", "test_store", "test_train_step", "test_toy_cities", "test_towers",
    "test_corpus_run", "test_while_training", "test_fuzz", "test_pretrained_features",
    "test_warm_start", "test_run_alone", "test_query", "test_readout", "test_identity",
    "test_eval_protocols", "test_bench", "test_tower_table", "test_plan",
)  # fmt: skip
LONGEST_SLOW = (
    "test_multi_process", "test_on_gpu", "test_notebooks", "test_crashes",
    "test_corpus_run", "test_packaging", "test_transfer", "test_damage",
    "test_bench_input", "test_train", "test_convert", "test_first_map",
    "test_page_large", "test_fuzz", "test_ablation", "test_beam_dask",
)  # fmt: skip


def pytest_ignore_collect(collection_path, config):
    """Files without a test of those that are asked for are not even loaded."""
    if collection_path.suffix != ".py":
        return None
    asked, text = config.option.markexpr, collection_path.read_text("utf-8")
    none_is_slow, all_are = (
        "mark.slow" not in text,
        "pytestmark = pytest.mark.slow" in text,
    )
    return (
        (asked == "slow" and none_is_slow) or (asked == "not slow" and all_are) or None
    )


def pytest_collection_finish():
    """What is loaded by now stays: the garbage collector need not look at it again.

    And need not look as often as it does: programs are traced to many small objects.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_collection_modifyitems(config, items):
    """Files of more than ten seconds begin: at the end no worker waits for another."""
    longest = LONGEST_SLOW if config.option.markexpr == "slow" else LONGEST
    place = {name: index for index, name in enumerate(longest)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def browser():
    """Chromium; there is one of it, as Playwright wants."""
    with browser_lib.started() as browser:
        yield browser


@pytest.fixture(scope="session")
def records_dir(tmp_path_factory):
    """Forty regions of 32 px with POIs and all kinds of labels; some sets are empty."""
    return write_records(tmp_path_factory.mktemp("records"))


@pytest.fixture
def small_config(records_dir, tmp_path):
    """The toy city's config on the small records: seconds a run."""
    return config_of(records_dir, tmp_path)
