"""--help of every command: exit status 0, and at once, since it loads no library."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.command import SECTIONS
from mmgr_jax.command_line import COMMANDS

ROOT = Path(__file__).parents[1]
HEAVY = (
    "PIL", "array_record", "exactextract", "faiss", "flax", "geopandas", "grain", "h3",
    "imagecodecs", "jax", "jaxlib", "joblib", "maplibre", "matplotlib", "numpy",
    "optax", "orbax", "pandas", "pyarrow", "pyogrio", "pyproj", "rasterio", "scipy",
    "shapely", "tensorboardX", "tensorflow_datasets", "torch",
)  # fmt: skip
"""Libraries that take long to load. `fetch` alone may have `requests`."""

APART = (
    "benchmarks", "benchmarks.data_prep", "benchmarks.label_next",
    "benchmarks.pretrained_features", "benchmarks.representation",
    "benchmarks.summary", "configs.settings_page", "configs.toy_cities",
    "data_prep.toy_city.ceilings", "mmgr_jax.page",
)  # fmt: skip
"""Modules with a command line of their own, which `mmgr` does not have."""

INNER = {
    "benchmarks.data_prep.build_worker", "benchmarks.data_prep.drawn_walks",
    "benchmarks.data_prep.tile_worker", "benchmarks.measured.corpus",
    "benchmarks.measured.evaluation", "benchmarks.places",
}  # fmt: skip
"""What such commands start themselves."""

ASKED = {
    **{name: [module] for name, (module, _) in COMMANDS.items()},
    **{module: [module] for module in APART},
    **{f"benchmarks {section}": ["benchmarks", section] for section in SECTIONS},
}
"""Name -> module and the words before --help."""

# One process imports what all commands share; each command is a fork of it.
ASK = """
import contextlib, io, json, os, runpy, sys
sys.modules.update(dict.fromkeys({heavy!r}))
from mmgr_jax import cli
answers = {{}}
for name, (module, *words) in {commands!r}.items():
    reading, writing = os.pipe()
    if not os.fork():
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        sys.argv = [module, *words, "--help"]
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
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(heavy=HEAVY, commands=ASKED)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ASKED)
def test_help_is_there_without_a_library(answers, name):
    status, text = answers[name]
    assert status == 0, text
    assert f"python -m {ASKED[name][0]}" in text
    assert "Traceback" not in text
    if name in COMMANDS and name != "compare":  # which prints results alone
        assert "--[no]quiet: " in text and "--[no]verbose: " in text


def test_every_command_line_is_asked():
    """Whatever can be started by `python -m`, but for what starts itself."""
    started = set()
    for package in ("mmgr_jax", "data_prep", "benchmarks", "configs"):
        for path in (ROOT / package).rglob("*.py"):
            if re.search('^if __name__ == "__main__"', path.read_text("utf-8"), re.M):
                parts = path.relative_to(ROOT).with_suffix("").parts
                started.add(".".join(p for p in parts if p != "__main__"))
    assert started == {module for module, *_ in ASKED.values()} | INNER


def test_the_ban_would_be_noticed():
    """The same, for a module that does load one."""
    script = ASK.format(heavy=HEAVY, commands={"x": ["mmgr_jax.data.schema"]})
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    ((status, text),) = json.loads(done.stdout).values()
    assert status and "numpy" in text


@pytest.mark.parametrize("module", ["mmgr_jax.eval", "benchmarks.data_prep"])
def test_help_takes_no_second(module):
    """Seconds of the processor, start of Python included: others work here, too."""
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    after = os.times()
    spent_s = (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
    assert spent_s < 1
