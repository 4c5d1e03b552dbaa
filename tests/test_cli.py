"""What a user can mistype: one clear message, exit status 2, nothing written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments, cwd=ROOT):
    """Runs a command as a user does."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


TOY = "--config=configs/toy_city.py"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [TOY, "--config.data.batchsize=8"],
            "'batchsize' (did you mean 'batch_size'?)",
        ),
        ([TOY, "--config.data.batch_size=many"], "batch_size=many"),
        ([TOY + ":big"], "'big' is unknown; allowed: paper, image_only, smoke"),
        (["--config=configs/gotham.py"], "configs/gotham.py: this file cannot be read"),
        ([], "--config is missing"),
        ([TOY, "--confg=3"], "Unknown command line flag 'confg'"),
        ([TOY, "train"], "unexpected argument 'train'"),
    ],
)
def test_a_mistyped_command_line_ends_in_one_line(arguments, message):
    result = run("mmgr_jax.eval", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_eval_without_records_says_how_to_build(tmp_path):
    result = run("mmgr_jax.eval", TOY, f"--config.records.dir={tmp_path}")
    assert result.returncode == 2
    assert "python -m data_prep.build" in result.stderr


def test_eval_without_a_checkpoint_says_how_to_train(records_dir, tmp_path):
    result = run(
        "mmgr_jax.eval", TOY, f"--config.records.dir={records_dir}",
        f"--workdir={tmp_path / 'none'}",
    )  # fmt: skip
    assert result.returncode == 2
    assert "no checkpoint here" in result.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("module", ["main", "eval", "embed"])
def test_help_teaches(module):
    result = run(f"mmgr_jax.{module}", "--help")
    assert f"python -m mmgr_jax.{module} --config=configs/" in result.stdout
    assert "--config:" in result.stdout


FAILING = """
import numpy as np
from mmgr_jax import cli

def command(config):
    {failing}

cli.run(command, "Fails.")
"""


@pytest.mark.parametrize(
    ("failing", "message"),
    [
        ("raise MemoryError", "the memory does not suffice"),
        ("np.zeros(2**60, np.uint8)", "the memory does not suffice"),  # by NumPy
        (
            "raise ValueError('RESOURCE_EXHAUSTED: Out of memory while trying to')",
            "the memory does not suffice. .*microbatch_size",
        ),
        ("open('/dev/full', 'w').write('a' * 99999)", "a file: No space left.*Make"),
        ("open('.')", r"\.: Is a directory. Mend what is there"),
        ("open('a' * 999)", "File name too long. Mend what is there"),
    ],
)
def test_what_the_system_refuses_ends_in_one_line(failing, message):
    result = subprocess.run(
        [sys.executable, "-c", FAILING.format(failing=failing), TOY],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert re.match(f"error: .*{message}", result.stderr), result.stderr
    assert "Traceback" not in result.stderr
