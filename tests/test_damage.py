"""Files that this program writes, damaged at random, and the commands that read them.

A command may refuse a damaged file in a sentence, tell of it and take an older whole
state or make it anew, or find the same as without the damage. It must never find
anything else, nor end in a traceback. The table of docs/notes/robustness.md is the
output of

    python -m pytest -n0 -s -m slow tests/test_damage.py

MMGR_SEED repeats a run, MMGR_DAMAGES says how many files are damaged.
"""

import collections
import itertools
import logging
import os
import sys
import time
from pathlib import Path

import damage
import pytest
import small_world as world
import test_compilation

from mmgr_jax.data import texts
from mmgr_jax.disk import locks

sys.path.insert(0, str(Path(__file__).parent / "data_prep"))  # small_city

RECORDS, RUN, HEADS = "records", ("records", "run"), "run/eval/heads"
BUNDLE = "run/checkpoints/4"
BUILT = "built/records"

# Kind of file -> patterns, what has to be there, commands that read it, share of cases.
KINDS = {
    "record shards": (
        ["records/*.array_record-*", f"{BUILT}/*.array_record-*"], "trained",
        [world.opens, world.validates, world.opens, world.evaluates, world.goes_on], 20,
    ),
    "manifest, headers": (
        [f"{of}/{name}.json" for of in (RECORDS, BUILT)
         for name in ("manifest", "dataset_info", "features")], "trained",
        [world.opens, world.builds, world.opens, world.validates, world.goes_on], 26,
    ),
    "folds": (["records/splits.csv"], "trained", [world.opens, world.evaluates], 10),
    "category vectors, texts": (
        ["records/category_*"], "trained", [world.opens, world.asks, world.goes_on], 14,
    ),
    "stamps of what was read": (
        ["records/verified.json"], "trained", [world.opens] * 5 + [world.goes_on], 10,
    ),
    "checkpoints: arrays, iterator, clock": (
        [f"{BUNDLE}/{part}/**/*" for part in ("model", "train", "data", "clock")],
        "trained", [world.goes_on, world.evaluates, world.begins_with], 24,
    ),
    "checkpoints: settings, history": (
        [f"{BUNDLE}/*[!n]", f"{BUNDLE}/*/_METADATA"], "trained",
        [world.goes_on, world.evaluates, world.asks], 14,
    ),
    "marks of owners": (
        [f"{of}/written_by_mmgr.json" for of in (BUNDLE, HEADS, BUILT)], "evaluated",
        [world.goes_on, world.maps_by_named_heads, world.evaluates, world.builds], 14,
    ),
    "heads": (
        [f"{HEADS}/**/*"], "evaluated", [world.maps_by_named_heads] * 2 + [world.maps],
        18,
    ),
    "table of embeddings": (
        ["run/maps/embeddings.parquet"], "evaluated", [world.evaluates_table], 10,
    ),
    "report": (
        ["run/eval/report.json"], "evaluated", [world.page_of_report, world.compares],
        24,
    ),
    "metrics.jsonl": (["run/metrics.jsonl"], "trained", [world.goes_on], 8),
    "features of a locked tower": (
        ["locked/tower/*"], "locked", [world.goes_on_locked], 6,
    ),
    "locks": (["run/.training"], "trained", [world.goes_on], 5),
}  # fmt: skip
_NEEDS = {
    world.goes_on_locked: "locked",
    world.builds: "built",
    world.validates: "built",
    world.opens: "records",
}
PROGRAMS = 20
_CHEAP = (world.opens, world.builds)


class Worlds:
    """Two worlds that grow as they are needed, and what is found in the first."""

    def __init__(self, folder):
        self._folder = folder
        self._made = set()
        self._found = {}
        self._numbers = itertools.count()

    def make(self, part):
        """Has both worlds hold a part."""
        first = {"evaluated": "trained", "trained": "records", "locked": "records"}
        if part in self._made:
            return
        self._made.add(part)
        if part in first:
            self.make(first[part])
        for seed, name in enumerate("ab"):
            getattr(world, part)(self._folder / name, seed)
        if part == "trained":
            lock = self._folder / "a/run" / ".training"
            lock.write_text(
                '{"work": "a training", "process": 9, "host": "here", "since": "now"}'
            )

    def copy(self):
        return damage.fresh(
            self._folder / "a", self._folder / f"case{next(self._numbers)}"
        )

    def found(self, command):
        """What a command finds where nothing is damaged."""
        if command not in self._found:
            self._found[command] = command(self.copy())
        return self._found[command]

    def files(self, folder, patterns, command):
        built = _NEEDS.get(command) == "built"
        wanted = [of for of in patterns if of.startswith(BUILT) == built] or patterns
        return sorted(
            path for of in wanted for path in folder.glob(of) if path.is_file()
        )

    def twin(self, folder, patterns, command, path):
        """The file of the other world that has the same place in the list."""
        ours = self.files(folder, patterns, command).index(path)
        theirs = self.files(self._folder / "b", patterns, command)
        return theirs[ours] if ours < len(theirs) else None


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    return Worlds(tmp_path_factory.mktemp("worlds"))


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """Without a sentence encoder, and with less patience for the dead."""
    import test_query

    encoder = texts.SentenceEncoder("wordllama", "0", test_query._encode)
    monkeypatch.setattr(texts, "load", lambda model, folder: encoder)
    monkeypatch.setattr(locks, "PATIENCE_S", 0.05)


def _case(worlds, rng, kind, command, how, caplog):
    """One damaged file; its outcome, or None where none of the kind is damaged so."""
    patterns, part, _, _ = KINDS[kind]
    worlds.make(_NEEDS.get(command, part))
    expected = worlds.found(command)
    folder = worlds.copy()
    if command is world.opens:  # a second start: hashes are remembered
        time.sleep(0.06)
        world.opens(folder)
    files = worlds.files(folder, patterns, command)
    path = rng.choice(files)
    twin = worlds.twin(folder, patterns, command, path)
    if not damage.damage(path, how, rng, twin):
        return None
    caplog.clear()
    with caplog.at_level(logging.INFO):
        right = damage.no_right(path) if how == "no right" else damage.nothing()
        with right:
            outcome, said = damage.judge(
                lambda: command(folder),
                expected,
                path,
                folder,
                lambda: _told(caplog),
                input_of_user=how == "swapped" and command is world.evaluates_table,
            )
    place = path.relative_to(folder)
    print(f"{outcome:26} {kind}: {place} {how}, by {command.__name__}: {said[:300]}")
    return outcome


def _told(caplog):
    """What this program warns of; libraries log what they do not mind, too."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING
        and record.name.startswith(("mmgr_jax", "data_prep"))
    ]


def _cases(rng, share=1.0):
    for kind, (_, _, commands, count) in KINDS.items():
        hows = list(damage.KINDS_OF_DAMAGE)
        rng.shuffle(hows)
        turns = zip(itertools.cycle(hows), itertools.cycle(commands))
        yield from (
            (kind, command, how)
            for how, command in itertools.islice(turns, round(count * share))
        )


def _count(worlds, cases, caplog, rng):
    counts, bad = collections.Counter(), []
    for kind, command, how in cases:
        others = [how, *rng.sample(damage.KINDS_OF_DAMAGE, 10)]
        for attempt in others:
            outcome = _case(worlds, rng, kind, command, attempt, caplog)
            if outcome is not None:
                break
        counts[kind, outcome] += 1
        if outcome in (damage.WRONG, damage.TRACEBACK):
            bad.append((kind, command.__name__, attempt, outcome))
    return counts, bad


def test_some_damaged_files(worlds, caplog):
    rng = damage.seeded("MMGR_SEED")
    cheap = [
        (kind, command, how) for kind, command, how in _cases(rng) if command in _CHEAP
    ]
    cases = rng.sample(cheap, 14)
    counts, bad = _count(worlds, cases, caplog, rng)
    assert not bad and counts.total() == 14


@pytest.mark.slow
def test_damaged_files_of_every_kind_are_told_or_change_nothing(
    worlds, caplog, tmp_path
):
    rng = damage.seeded("MMGR_SEED")
    whole = sum(count for *_, count in KINDS.values())
    share = int(os.environ.get("MMGR_DAMAGES", whole)) / whole
    counts, bad = _count(worlds, _cases(rng, share), caplog, rng)
    programs, (code, *said) = test_compilation.run_damaged(
        tmp_path, rng.randrange(10**6), PROGRAMS
    )
    counts["compiled programs", damage.TOLD] = programs
    if programs != PROGRAMS or code:
        counts["compiled programs", damage.TRACEBACK] = PROGRAMS - programs
        bad.append(("compiled programs", code, said))
    print(damage.table(counts))
    assert not bad, bad
