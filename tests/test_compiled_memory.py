"""A compiled step is compared with the memory that is left, before it runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgr_jax.devices import distributed, memory
from mmgr_jax.errors import InputError

NUMBERS = 4_000_000
ran = []


def _step(x):
    jax.debug.callback(lambda: ran.append(1))
    return jnp.sort(x)[::-1] + x  # 16 MB of output, and as much to sort in


@pytest.mark.parametrize("short", [False, True])
def test_a_step_that_does_not_fit_is_told_and_not_run(monkeypatch, short):
    ran.clear()
    x = jnp.arange(NUMBERS, dtype=jnp.float32)
    found = jax.jit(_step).lower(x).compile().memory_analysis()
    assert found.output_size_in_bytes == 4 * NUMBERS  # XLA's own figure, by hand
    own = found.output_size_in_bytes + found.temp_size_in_bytes
    needed = own * jax.local_device_count()
    monkeypatch.setattr(memory, "available_bytes", lambda: needed - short)
    call = distributed.together(jax.jit(_step))
    if short:
        with pytest.raises(InputError, match=r"a step needs .* GiB of memory .*batch"):
            call(x)
        jax.effects_barrier()
        assert not ran
        return
    np.testing.assert_array_equal(call(x), np.full(NUMBERS, NUMBERS - 1))
    jax.effects_barrier()
    assert ran


def test_other_shapes_are_compiled_anew():
    call = distributed.together(jax.jit(lambda x: 2 * x))
    for shape in ((3,), (4,), (3,)):
        np.testing.assert_array_equal(call(jnp.ones(shape)), np.full(shape, 2.0))
    with pytest.raises(TypeError):
        call(jnp.ones(3), jnp.ones(3))
