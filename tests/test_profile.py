"""Traces of chosen steps."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from mmgr_jax.errors import InputError
from mmgr_jax.train import profile


@pytest.mark.parametrize(("steps", "range_"), [("10:20", (10, 20)), ("7", (7, 7))])
def test_steps_are_a_range_or_one(steps, range_):
    assert profile.parse(steps) == range_


@pytest.mark.parametrize("steps", ["0:3", "5:4", "a:b", "3:", "1:2:3", ""])
def test_what_names_no_steps_is_refused(steps):
    with pytest.raises(InputError, match=r"config.profile=.*profile=10:20"):
        profile.parse(steps)


def test_the_chosen_steps_are_in_the_trace(tmp_path):
    double, x = jax.jit(lambda x: x * 2), jnp.ones(8)
    with profile.Profile("2:3", tmp_path) as trace:
        for step in range(1, 6):
            with trace.step(step, lambda x=x: x):
                x = double(x)
    (folder,) = (tmp_path / "plugins" / "profile").iterdir()
    assert list(folder.glob("*.xplane.pb"))  # what TensorBoard reads
    (path,) = folder.glob("perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    shown = {
        str(event["args"]["step_num"])
        for event in events
        if event.get("name") == "train" and "step_num" in event.get("args", {})
    }
    assert shown == {"2", "3"}


def test_a_loop_that_ends_early_leaves_a_trace(tmp_path):
    with profile.Profile("1:9", tmp_path) as trace, trace.step(1, lambda: 0):
        pass
    assert list(tmp_path.rglob("*.xplane.pb"))


def test_without_steps_nothing_is_written(tmp_path):
    with profile.Profile(None, tmp_path) as trace, trace.step(1, lambda: 0):
        pass
    assert not list(tmp_path.iterdir())
