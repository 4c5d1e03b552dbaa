"""What runs on a bare machine with a GPU: no library of data, configs or geodata."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import summary, table, trace, turns

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks/on_gpu.sh"
MISSING = (
    "absl", "annotated_types", "array_record", "exactextract", "geopandas", "grain",
    "h3", "imagecodecs", "ml_collections", "pandas", "pyarrow", "pydantic", "pyogrio",
    "pyproj", "rasterio", "shapely", "sklearn", "tensorflow_datasets",
    "torch_geometric", "torchvision",
)  # fmt: skip
SECTIONS = ("step", "losses", "augment", "inference", "largest", "trace")
NONE_OF_OURS = f"import sys; sys.modules.update(dict.fromkeys({MISSING!r}))\n"
BARE = NONE_OF_OURS + "del sys.modules['absl']\n"  # some versions of optax take it


def run(*words, python, **variables):
    return subprocess.run(
        ["bash", str(SCRIPT), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHON": str(python)} | variables,
    )


def interpreter(folder, code):
    """A program in place of Python: ours after some code."""
    path = folder / "python"
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    path.write_text(
        f'#!/bin/sh\nPYTHONPATH="{folder}:$PYTHONPATH" exec "{sys.executable}" "$@"\n',
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path


def test_sections_load_without_what_is_missing_there():
    names = ("step", "losses", "augment", "largest", "trace", "summary", "command")
    code = NONE_OF_OURS + f"from benchmarks import {', '.join(names)}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_steps_are_built_without_what_is_missing_there():
    code = BARE + (
        "from benchmarks import step, losses\n"
        "step.program(2, 32, 'bfloat16', 'joint')\n"
        "losses._loss('gathered', None)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_what_fails_is_named_and_the_rest_runs(tmp_path):
    """A program stands for Python: it writes the result of losses, and fails else."""
    fake = tmp_path / "python"
    rows = '{"section": "losses", "doubts": ["Too busy."], "rows": [{"way": "ours"}]}'
    fake.write_text(
        f"""#!/bin/bash
if [ "$2" = benchmarks.summary ]; then exec "{sys.executable}" "$@"; fi
if [ "$3" = augment ]; then sleep 60; fi
if [ "$3" != losses ]; then echo "no $3 here"; exit 3; fi
echo '{rows}' >"${{@: -1}}"
""",
        encoding="utf-8",
    )
    fake.chmod(0o755)
    out = tmp_path / "out"
    done = run("--smoke", str(out), python=fake, BUDGET_S="5", LEAST_S="3")
    assert done.returncode == 1
    text = (out / "summary.txt").read_text(encoding="utf-8")
    assert "== losses" in text and "ours" in text and "Too busy." in text
    assert "failed: step: status 3, no step here" in text
    assert "failed: augment: stopped after " in text
    assert "failed: trace: not begun, the 5 s of all sections were used up" in text
    assert "losses:" not in text.partition("failed")[2]


def test_budgets_of_all_sections_stay_below_eight_minutes():
    assert "budget=${BUDGET_S:-460}" in SCRIPT.read_text(encoding="utf-8")


@pytest.mark.slow
def test_all_of_it_runs_small_on_a_bare_machine(tmp_path):
    out = tmp_path / "out"
    python = interpreter(tmp_path, BARE)
    run("--smoke", str(out), python=python, BUDGET_S="1700")
    for section in SECTIONS:
        if section != "inference" or (ROOT / "benchmarks/inference.py").exists():
            result = json.loads((out / f"{section}.json").read_text(encoding="utf-8"))
            assert result["rows"] and result["cores"] == os.cpu_count()
    assert "failed: none" in summary.text(out) or summary.text(out).count("== ") >= 5
    assert trace.operations(out / "trace", steps=2)[0]["share"] > 0.05


def test_quartiles_are_told_of_each_figure_and_ratio():
    times = turns.spread("seconds", [1.0, 2.0, 3.0, 4.0, 5.0])
    assert times == {"seconds": 3.0, "seconds_low": 2.0, "seconds_high": 4.0}
    ratio = turns.ratios("ratio", [2.0, 4.0, 9.0], [1.0, 2.0, 3.0])
    assert ratio == {"ratio": 2.0, "ratio_low": 2.0, "ratio_high": 2.5}
    assert turns.spread("s", [7.0]) == {"s": 7.0, "s_low": 7.0, "s_high": 7.0}
    assert "3 (2-4)" in table.table([{"way": "ours"} | times])


def test_noise_and_load_are_said_in_a_sentence():
    steady = {"way": "ours", "ratio": 2.0, "ratio_low": 1.9, "ratio_high": 2.1}
    assert table.doubts([steady], (0.5, 1.9), cores=2) == []
    noisy = steady | {"ratio_high": 2.4}
    (sentence,) = table.doubts([noisy], (0.5, 1.9), cores=2)
    assert sentence.startswith("Too noisy: ratio of ours lies between 1.9 and 2.4")
    (sentence,) = table.doubts([steady], (0.5, 2.6), cores=2)
    assert sentence.startswith("Too busy: a load of 2.6 on 2 cores")
