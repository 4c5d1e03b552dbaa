"""--help of every command: exit status 0, and at once, since it loads no library."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmgr_jax.command_line import COMMANDS

ROOT = Path(__file__).parents[1]
HEAVY = (
    "PIL", "array_record", "exactextract", "faiss", "flax", "geopandas", "grain", "h3",
    "imagecodecs", "jax", "jaxlib", "joblib", "maplibre", "matplotlib", "numpy",
    "optax", "orbax", "pandas", "pyarrow", "pyogrio", "pyproj", "rasterio", "scipy",
    "shapely", "tensorboardX", "tensorflow_datasets", "torch",
)  # fmt: skip
"""Libraries that take long to load. `fetch` alone may have `requests`."""

# One process imports what all commands share; each command is a fork of it.
ASK = """
import contextlib, io, json, os, runpy, sys
sys.modules.update(dict.fromkeys({heavy!r}))
from mmgr_jax import cli
answers = {{}}
for name, module in {commands!r}.items():
    reading, writing = os.pipe()
    if not os.fork():
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        sys.argv = [module, "--help"]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.stdout.flush()
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    answers[name] = os.waitstatus_to_exitcode(os.wait()[1]), text
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers():
    """Name -> exit status and text of `--help`, where heavy libraries are forbidden."""
    commands = {name: module for name, (module, _) in COMMANDS.items()}
    commands["page"] = "mmgr_jax.page"
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(heavy=HEAVY, commands=commands)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", [*COMMANDS, "page"])
def test_help_is_there_without_a_library(answers, name):
    status, text = answers[name]
    assert status == 0, text
    module = COMMANDS[name][0] if name in COMMANDS else "mmgr_jax.page"
    assert f"python -m {module}" in text
    assert "Traceback" not in text
    if name not in ("compare", "page"):  # these print results alone
        assert "--[no]quiet: " in text and "--[no]verbose: " in text


def test_the_ban_would_be_noticed():
    """The same, for a module that does load one."""
    script = ASK.format(heavy=HEAVY, commands={"x": "mmgr_jax.data.schema"})
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    ((status, text),) = json.loads(done.stdout).values()
    assert status and "numpy" in text


def test_help_takes_no_second():
    """Seconds of the processor, start of Python included: others work here, too."""
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "mmgr_jax.eval", "--help"], cwd=ROOT, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    after = os.times()
    spent_s = (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
    assert spent_s < 1
