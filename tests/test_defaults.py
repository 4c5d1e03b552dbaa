"""A default stands once: in the section that has the setting, and in no signature."""

import ast
import dataclasses
import functools

import pytest
from all_sections import ROOMS, ROOT, sections

from mmgr_jax import settings

# Names of settings that are those of other things as well, in one file or in all, each
# with what else it is.
OTHERS = {
    "seed": "every draw has one; a function by itself starts with 0",
    "mmgr_jax/data/schema.py: buffer_m": "of records of before, which lack it",
    "mmgr_jax/data/schema.py: image_format": "of records of before, which lack it",
    "mmgr_jax/data/source.py: cache_mib": "records by themselves are not kept",
    "mmgr_jax/encoder.py: batch_size": "as many at a time as fit any machine",
    "mmgr_jax/encoder.py: features": "who names none wants those of the paper",
    "mmgr_jax/encoder.py: num_threads": "there is no config",
    "mmgr_jax/train/step.py: method": "of a model",
    "data_prep/regions/regions.py: poi_buffer_m": "regions by themselves have none",
    "data_prep/regions/regions.py: mask_outside": "tiles by themselves are whole",
}


def _settings():
    """Name of a setting -> its defaults, wherever it has some."""
    found = {}
    for kind in sections():
        for field in dataclasses.fields(kind):
            if not isinstance(field.default, settings.Section):
                found.setdefault(field.name, []).append(field.default)
    return found


@functools.cache
def _names_of_sections():
    return {kind.__name__ for kind in sections()}


def _elsewhere(tree):
    """(where, name, default) of parameters, and of fields that are in no section."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            given = [*node.args.posonlyargs, *node.args.args]
            pairs = [
                *zip(reversed(given), reversed(node.args.defaults), strict=False),
                *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
            ]
            for argument, default in pairs:
                if default is not None:
                    yield f"{node.name}:{default.lineno}", argument.arg, default
        if isinstance(node, ast.ClassDef):
            if node.name in _names_of_sections():
                continue
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and line.value is not None:
                    yield f"{node.name}:{line.lineno}", line.target.id, line.value


def _twice(path, known):
    """Defaults that a setting of this name and type has already."""
    for where, name, default in _elsewhere(ast.parse(path.read_text())):
        try:
            value = ast.literal_eval(default)
        except ValueError:  # it comes from where it stands once
            continue
        # Nothing is no setting: it says that there is none.
        alike = [of for of in known.get(name, ()) if type(of) is type(value)]
        file = path.relative_to(ROOT).as_posix()
        if OTHERS.keys() & {name, f"{file}: {name}"}:
            continue
        if value not in (None, (), "") and alike:
            yield f"{file}: {where}: {name}={value!r}, as {alike}"


@pytest.mark.parametrize("room", ROOMS)
def test_no_default_of_a_setting_stands_in_a_second_place(room):
    known = _settings()
    paths = sorted((ROOT / room).rglob("*.py"))
    assert [line for path in paths for line in _twice(path, known)] == []


def test_every_other_meaning_is_still_one():
    known, names = _settings(), set()
    for path in [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]:
        file = path.relative_to(ROOT).as_posix()
        for _, name, _ in _elsewhere(ast.parse(path.read_text())):
            names |= {name, f"{file}: {name}"} if name in known else set()
    assert set(OTHERS) <= names


def test_a_second_place_is_found(tmp_path, monkeypatch):
    path = tmp_path / "module.py"
    path.write_text("def f(x, learning_rate=0.5, *, tasks=(), dpi=75): pass\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    told = list(_twice(path, dict(learning_rate=[1e-3], tasks=[()], dpi=[150])))
    assert told == [
        "module.py: f:1: learning_rate=0.5, as [0.001]",
        "module.py: f:1: dpi=75, as [150]",
    ]
