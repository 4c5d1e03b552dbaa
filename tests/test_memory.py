"""What memory is left, and runs that cannot fit it."""

import jax
import jax.numpy as jnp
import pytest

from mmgr_jax.devices import memory, sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.store import checkpoint
from mmgr_jax.train import loop


def _machine(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


MEMINFO = "MemTotal: 900 kB\nMemAvailable: 500 kB\nSwapFree: 100 kB\nHugePages: x\n"


def test_the_least_of_machine_and_container_is_left(tmp_path):
    assert memory.available_bytes(tmp_path) is None
    _machine(tmp_path, proc__meminfo=MEMINFO)
    assert memory.available_bytes(tmp_path) == 600 * 1024
    _machine(
        tmp_path,
        sys__fs__cgroup__memory_max="max\n",
        sys__fs__cgroup__memory_current="1000\n",
    )
    assert memory.available_bytes(tmp_path) == 600 * 1024
    _machine(tmp_path, sys__fs__cgroup__memory_max="5000\n")
    assert memory.available_bytes(tmp_path) == 4000
    stat = "anon 3\ninactive_file 700\nactive_file 9\n"
    _machine(tmp_path, sys__fs__cgroup__memory_stat=stat)
    assert memory.available_bytes(tmp_path) == 4700


def test_of_the_machine_at_hand_no_more_is_left_than_it_has():
    psutil = pytest.importorskip("psutil")
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    found = memory.available_bytes()
    assert 0 < found < free + 2**30  # others take and give meanwhile


@pytest.mark.parametrize("devices", [1, 4])
def test_a_state_counts_on_every_device_with_gradients_and_a_copy(monkeypatch, devices):
    mesh = sharding.make_mesh(MeshSettings(data=devices, fsdp=1))
    params = {"w": jnp.zeros((1000, 25), jnp.float32)}  # 100 kB
    state = {"params": params, "moments": params, "step": jnp.int32(0)}
    whole = sharding.replicated(mesh)
    state, params = (checkpoint.abstract_like(of, whole) for of in (state, params))
    needed = devices * (200_004 + 100_000) + 200_004
    monkeypatch.setattr(memory, "available_bytes", lambda: needed)
    memory.refuse_too_large(state, params)
    monkeypatch.setattr(memory, "available_bytes", lambda: needed - 1)
    with pytest.raises(InputError, match="for the state, .* gradients, .* save makes"):
        memory.refuse_too_large(state, params)
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    memory.refuse_too_large(state, params)
    assert jax.default_backend() == "cpu"


def test_training_that_cannot_fit_is_told_before_it_begins(small_config, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 10_000)
    with pytest.raises(InputError, match="training needs more than .* GiB are left"):
        loop.train(small_config)
