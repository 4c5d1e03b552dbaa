"""Damaged files of every kind end in a result or in one sentence, never otherwise.

Inputs are numbered: the seed, the reader and the number decide one, whatever was tried
before it. MMGR_SEED repeats a run, MMGR_FUZZ says how many inputs of each reader the
slow test tries; `worker.py` repeats one of them and leaves it to be looked at.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

WORKER = Path(__file__).with_name("worker.py")
SEED = int(os.environ.get("MMGR_SEED", np.random.SeedSequence().entropy % 2**32))
FEW, MANY = 2, int(os.environ.get("MMGR_FUZZ", 50))
FINE = ("result", "refused")
ENVIRONMENT = {  # no threads beside each other, and nothing kept between runs
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "PYTHONDONTWRITEBYTECODE": "1",
}

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs what Linux says of memory"
)


def _told(folder, *arguments):
    """What a worker says, line by line, and what became of it."""
    folder.mkdir()
    run = subprocess.run(
        [sys.executable, str(WORKER), str(folder), str(SEED), *map(str, arguments)],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        check=False,
    )
    lines = run.stdout.decode().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")], run


def _endings(folder, names, count, module="readers"):
    """How each input ended, by reader and number; a crash is an ending, too.

    Args:
        folder: For all that is done.
        names: Of the readers; (): all.
        count: How many inputs of each.
        module: Where they are.
    """
    names, first, found = list(names), 0, {}
    while True:
        place = folder / str(len(list(folder.iterdir())))
        told, run = _told(place, "|".join(names), first, count, module)
        assert told, run.stderr.decode()[-3000:]
        for said in told[1:]:
            key = said["reader"], said["case"]
            how = said.get("how") or found.get(key, ("",))[0]
            found[key] = how, said.get("outcome")
        if not run.returncode:
            return found
        said = told[-1]
        assert "case" in said and "outcome" not in said, run.stderr.decode()[-3000:]
        error = f"ended by {_signal(run.returncode)}: {run.stderr.decode()[-2000:]}"
        found[said["reader"], said["case"]] = said["how"], error
        names = names or told[0]["readers"]
        names = names[names.index(said["reader"]) :]
        first = count if said["case"] == "whole" else said["case"] + 1


def _signal(code):
    return signal.Signals(-code).name if code < 0 else f"status {code}"


def _check(folder, count):
    print(f"MMGR_SEED={SEED}")
    found = _endings(folder, (), count)
    wrong = [
        f"{reader}, input {number} ({how}): {outcome}\nAgain: python {WORKER} FOLDER "
        f"{SEED} {reader!r} {number} {number + 1 if number != 'whole' else 0}"
        for (reader, number), (how, outcome) in found.items()
        if outcome not in (FINE if number != "whole" else FINE[:1])
    ]
    assert not wrong, f"MMGR_SEED={SEED}\n" + "\n\n".join(wrong)
    assert len(found) == (count + 1) * sum(number == "whole" for _, number in found)
    outcomes = [outcome for _, outcome in found.values()]
    assert min(outcomes.count(of) for of in FINE) > 0.2 * len(outcomes)


def test_damaged_files_are_told(tmp_path):
    _check(tmp_path, FEW)


@pytest.mark.slow
def test_many_damaged_files_are_told(tmp_path):
    _check(tmp_path, MANY)


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        ("raises", "KeyError"),
        ("crashes", "ended by SIGABRT"),
        ("exits", "ended by status 3"),
        ("writes", "open /"),
        ("writes natively", "opened a file outside"),
        ("reads outside", "opened a file outside"),
        ("asks the network", "socket.connect"),
        ("runs a program", "os.system"),
        ("takes memory", "took too much memory"),
        ("takes time", "took 2 s"),
        ("says nothing", "no sentence"),
    ],
)
def test_what_a_reader_must_not_do_is_seen(tmp_path, reader, said, monkeypatch):
    monkeypatch.setenv("MMGR_FUZZ_SECONDS", "1")
    found = _endings(tmp_path, [reader], 3, "bad_readers")
    outcomes = [found[reader, number][1] for number in range(3)]
    assert any(said in outcome for outcome in outcomes), outcomes
