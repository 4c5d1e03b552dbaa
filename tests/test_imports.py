"""The house as drawn: imports point down, and the heavy ones stay in their rooms."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "mmgr_jax").rglob("*.py")) + sorted(
    (ROOT / "data_prep").rglob("*.py")
)

# Lower numbers know nothing of higher ones.
FLOOR = {
    "typing": 0, "errors": 0, "files": 0, "terminal": 0,
    "roll_call": 1, "endings": 1.3, "environment": 1.4, "__init__": 1.45,
    "distributed": 1.5, "program_files": 0, "compilation": 1, "profile": 2,
    "cli": 2,
    "data.tiles": 1, "data.example": 1, "data.contents": 0.5, "data.seals": 1,
    "data.names": 1,
    "data.schema": 2,
    "data": 3, "models": 2, "image_ops": 2, "augment_draws": 2, "streaming": 2,
    "augment": 3, "losses": 3,
    "tower_views": 3, "optim": 3,
    "train_step": 4, "durations": 4, "sharding": 4, "board": 1, "metrics": 4,
    "evaluators": 4, "geo": 4,
    "locks": 1, "memory": 1, "checksums": 1, "refusals": 1, "marks": 2, "folders": 3,
    "stored": 4,
    "bundles": 5, "checkpoint": 6,
    "stored_heads": 5, "device_tiles": 5,
    "towers": 6, "tower_settings": 6, "warm_start": 7, "identity": 7, "agreement": 7.5,
    "experiment": 8,
    "train": 9, "inference": 9, "planning": 9,
    "plan": 10, "convert": 10, "views": 10, "page": 1,
    "feature_sets": 10, "tuning": 11, "provenance": 11, "across": 11, "predictors": 12,
    "kept_heads": 12.5,
    "eval": 13, "embed": 14, "query": 14, "main": 15, "compare": 15, "bench": 15,
    "ablation": 16,
}  # fmt: skip


def _module(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _imports(path, *, top_level_only=False):
    """Absolute names of what a file imports."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def _floor(module):
    name = module.removeprefix("mmgr_jax.")
    while name:
        if name in FLOOR:
            return FLOOR[name]
        name = name.rpartition(".")[0]
    return None


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_imports_point_down(path):
    module = _module(path)
    if module.startswith("mmgr_jax."):
        floor = _floor(module)
        if not module.endswith("__init__"):
            assert floor is not None, f"{module} has no floor in this test: place it"
        for name in _imports(path):
            if name.startswith("mmgr_jax."):
                below = _floor(name)
                same_room = name.split(".")[1] == module.split(".")[1]
                assert same_room or below is None or below < floor, (module, name)


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_libraries_stay_in_their_rooms(path):
    module = _module(path)
    roots = {name.split(".")[0] for name in _imports(path)}
    names = set(_imports(path))
    if module.startswith(("mmgr_jax.data.", "data_prep.")):
        assert not roots & {"jax", "flax", "optax", "orbax"}
    if module.startswith("data_prep."):
        allowed = ("mmgr_jax.data.schema", "mmgr_jax.data.folds",
                   "mmgr_jax.data.tiles", "mmgr_jax.data.texts",
                   "mmgr_jax.data.contents", "mmgr_jax.data.seals",
                   "mmgr_jax.data.arrays",
                   "mmgr_jax.data.names",
                   "mmgr_jax.data.source", "mmgr_jax.data",
                   "mmgr_jax.errors", "mmgr_jax.cli", "mmgr_jax.files",
                   "mmgr_jax.folders", "mmgr_jax.locks", "mmgr_jax.marks",
                   "mmgr_jax.refusals",
                   "mmgr_jax.terminal", "mmgr_jax.page.tree")  # fmt: skip
        for name in names:
            if name.startswith("mmgr_jax"):
                assert name.startswith(allowed), name
                if name.startswith("mmgr_jax.data."):
                    assert name.startswith(allowed[:9]), name
    else:
        assert "orbax" not in roots or module in (
            "mmgr_jax.bundles",
            "mmgr_jax.checkpoint",
            "mmgr_jax.stored",
        )
        linen = any(name.startswith("flax.linen") for name in names)
        assert not linen or module.startswith("mmgr_jax.models.")
        geo = roots & {"rasterio", "geopandas", "pyogrio"}
        assert not geo or module.startswith("mmgr_jax.geo.")
        assert "data_prep" not in roots or module == "mmgr_jax.main"
        assert not any(name.startswith("ml_collections") for name in names) or (
            _floor(module) >= FLOOR["experiment"] or module == "mmgr_jax.cli"
        )


def test_preparation_and_maps_load_only_when_needed():
    for name in ("main", "embed"):
        path = ROOT / "mmgr_jax" / f"{name}.py"
        for imported in _imports(path, top_level_only=True):
            assert not imported.startswith(("data_prep", "mmgr_jax.geo")), imported


def test_nothing_imports_tensorflow():
    for path in FILES:
        for name in _imports(path):
            assert name.split(".")[0] != "tensorflow", path


def test_no_city_is_named_in_the_code():
    """Cities live in configs/; comments may tell where a figure was measured."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [getattr(node, key, "") for key in ("id", "arg", "attr", "name")]
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                names += [node.value] if len(node.value) < 40 else []
            for name in filter(None, names):
                assert not {"shanghai", "wuhan"} & set(str(name).lower().split("_"))
