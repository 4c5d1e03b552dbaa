"""Compiled programs: kept on disk, found again, counted."""

import os
import random
from pathlib import Path

import forks
import jax
import jax.numpy as jnp
from jax._src.lru_cache import LRUCache

from mmgr_jax.devices import compilation, program_files

PROGRAM = """
import sys, jax, jax.numpy as jnp
from mmgr_jax.devices import compilation
folder = compilation.use_cache(sys.argv[1])
compilation._MIN_SECONDS = 0
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
hits = []
jax.monitoring.register_event_listener(
    lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None
)
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8)))
print(folder, len(hits))
"""


def _run(where, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_C")}
    given = kept | environment
    result = forks.run("-c", PROGRAM, where, env=given, jax=False)
    assert result.returncode == 0, result.stderr
    folder, hits = result.stdout.split()
    return folder, int(hits), result.stderr


def test_the_second_run_finds_the_programs_of_the_first(tmp_path):
    folder, hits, _ = _run("auto", XDG_CACHE_HOME=str(tmp_path))
    assert Path(folder).parent == tmp_path / "mmgr_jax" / "xla"
    assert hits == 0 and list(Path(folder).iterdir())
    for path in Path(folder).glob("*-cache"):
        path.write_bytes(b"damaged")
    _, hits, _ = _run("auto", XDG_CACHE_HOME=str(tmp_path))
    assert hits == 0  # what cannot be read is compiled
    for path in Path(folder).iterdir():
        path.unlink()
    _run("auto", XDG_CACHE_HOME=str(tmp_path))
    assert _run("auto", XDG_CACHE_HOME=str(tmp_path))[1] >= 1


DAMAGED = """
import pathlib, random, sys, warnings
import jax, jax.numpy as jnp, numpy as np
from mmgr_jax.devices import compilation
folder = compilation.use_cache(sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
program = jax.jit(lambda x: jnp.sin(x @ x.T) * 0.5 + x)
x = np.random.default_rng(0).normal(size=(8, 8))
expected = np.asarray(program(x))
rng = random.Random(int(sys.argv[2]))
for _ in range(int(sys.argv[3])):
    (path,) = pathlib.Path(folder).glob("jit__lambda*-sealed-cache")
    whole = bytearray(path.read_bytes())
    place = rng.randrange(len(whole))
    how = rng.choice(["flipped", "cut", "emptied"])
    if how == "flipped":
        whole[place] ^= 1 << rng.randrange(8)
    path.write_bytes(whole[: {"cut": place, "emptied": 0}.get(how)])
    jax.clear_caches()
    print(how, place, flush=True)
    np.testing.assert_array_equal(program(x), expected)
"""


def run_damaged(folder, seed, count):
    """Runs a program `count` times whose file is damaged each time.

    Returns:
        How often that was told, and how the process ended.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_C")}
    result = forks.run("-c", DAMAGED, folder, seed, count, env=kept, jax=False)
    told = result.stderr.count("damaged, so this program is compiled again")
    return told, (result.returncode, result.stdout[-300:], result.stderr[-900:])


def test_damaged_programs_are_compiled_again_and_never_run(tmp_path):
    """Unsealed, one of four flipped bits ends the process by a signal."""
    seed = random.randrange(10**6)
    told, end = run_damaged(tmp_path, seed, 40)
    assert end[0] == 0 and told == 40, (seed, told, end)


def test_a_program_under_the_name_of_another_is_not_run(tmp_path):
    files = program_files.Sealed(LRUCache(str(tmp_path), max_size=-1))
    files.put("a", b"first")
    files.put("b", b"second")
    (tmp_path / "a-sealed-cache").replace(tmp_path / "b-sealed-cache")
    assert files.get("a") is None and files.get("b") is None
    files.put("b", b"second")
    assert files.get("b") == b"second"


def test_off_another_folder_and_one_that_cannot_be(tmp_path):
    assert _run("off", XDG_CACHE_HOME=str(tmp_path))[0] == "None"
    folder, *_ = _run(str(tmp_path / "named"))
    assert Path(folder).parent == tmp_path / "named"
    (tmp_path / "file").write_text("")
    folder, _, told = _run(str(tmp_path / "file"))
    assert folder == "None" and "compiled programs cannot be kept there" in told


def test_old_programs_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation, "_MAX_BYTES", 25)
    for age in range(4):
        path = tmp_path / str(age)
        path.write_bytes(bytes(10))
        os.utime(path, (1000 - age, 1000 - age))
    compilation._prune(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_a_step_compiled_again_is_told(caplog):
    step, watch = jax.jit(lambda x: x + 1), compilation.Watch()
    arrays = [jnp.ones(3), jnp.ones(3), jnp.ones(4), jnp.ones(4)]
    for number, array in enumerate(arrays, start=1):
        with watch.step(number):
            step(array)
    (told,) = caplog.messages
    assert told.startswith("step 3 was compiled again") and watch.again == 1


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path, caplog):
    """What lies there would be run."""
    folder = tmp_path / compilation._cpu()
    folder.mkdir(mode=0o700)
    compilation._refuse_others(folder)
    folder.chmod(0o777)
    assert compilation.use_cache(str(tmp_path)) is None
    assert "another user owns it or may write to it" in caplog.text


def test_without_a_home_nothing_is_kept(monkeypatch, caplog):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(compilation.Path, "home", nowhere)
    assert compilation.use_cache("auto") is None
    assert "Could not determine home directory" in caplog.text
