"""Are the lower bounds true? The core of the tests on the lowest versions they allow.

It installs some gigabytes and takes minutes, so it runs on request alone:
`MMGR_LOWEST=1 python -m pytest -m slow tests/test_lowest.py`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = (
    "tests/test_configs.py", "tests/test_settings.py", "tests/test_schema.py",
    "tests/test_kept.py", "tests/test_optim.py", "tests/test_pipeline.py",
    "tests/test_checkpoint.py", "tests/test_losses.py", "tests/test_cli.py",
    "tests/models/test_mmgr.py", "tests/geo/test_geo_writers.py",
    "tests/geo/test_geo_maps.py", "tests/data_prep/test_build.py",
    "tests/data_prep/test_regions_h3.py", "tests/evaluation/test_store.py",
    "tests/evaluation/test_eval_splits.py",
)  # fmt: skip
"""Tests that need no library beside requirements.txt, pytest and beartype."""


def lowest(requirements):
    """Lines of a constraints file: each requirement at its lower bound.

    Args:
        requirements: Text of a requirements file.
    """
    lines = [line.partition("#")[0].strip() for line in requirements.splitlines()]
    pairs = [
        re.match(r"([\w.-]+)(?:\[\w+\])?>=([\w.]+)", line) for line in lines if line
    ]
    assert all(pairs), "a requirement without a lower bound"
    return [f"{pair[1]}=={pair[2]}" for pair in pairs]


def test_lower_bounds_are_read_off_the_requirements():
    assert lowest("# x\njax>=0.10.2,<0.12  # why\npillow>=12,<14\n") == [
        "jax==0.10.2",
        "pillow==12",
    ]
    assert len(lowest((ROOT / "requirements.txt").read_text())) > 30
    with pytest.raises(AssertionError, match="without a lower bound"):
        lowest("jax<2\n")


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("MMGR_LOWEST"), reason="set MMGR_LOWEST=1: it installs gigabytes"
)
def test_the_core_passes_on_the_lowest_versions(tmp_path):
    folder, constraints = tmp_path / "venv", tmp_path / "constraints.txt"
    text = (ROOT / "requirements.txt").read_text()
    constraints.write_text("\n".join(lowest(text)) + "\n")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin/python")
    subprocess.run(
        [
            python, "-m", "pip", "install", "-q", "-r", "requirements.txt",
            "-c", str(constraints), "pytest>=9.2,<10", "pytest-xdist>=3.8,<4",
            "beartype>=0.22.9,<0.24",
        ],
        cwd=ROOT, check=True,
    )  # fmt: skip
    done = subprocess.run(
        [python, "-m", "pytest", "-n", "2", *CORE],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
