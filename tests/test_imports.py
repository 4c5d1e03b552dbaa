"""The house as drawn: imports point down, and the heavy ones stay in their rooms."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "mmgr_jax").rglob("*.py")) + sorted(
    (ROOT / "data_prep").rglob("*.py")
)

# Rooms from the ground up, each with those it imports, which stand above it in this
# list: so no two import each other, by whatever way. GROUND is everybody's, and so are
# the `settings` of rooms of data_prep, which see the ground alone. Rooms of mmgr_jax
# stand by their own names, a file at the top is a room by itself.
GROUND = (
    "addresses", "config_files", "cores", "errors", "extras", "parts", "pulse",
    "removed_settings", "run_settings", "settings", "summary", "terminal", "typing",
)  # fmt: skip
ARROWS = {
    "disk": "",
    "endings": "disk",
    "environment": "endings",
    "data": "disk",
    "devices": "data disk endings",
    "command_line": "",
    "cli": "data devices endings environment",
    "store": "data disk",
    "losses": "",
    "models": "disk store",
    "augment": "models",
    "towers": "augment data devices disk models store",
    "train": "augment data devices disk losses models store towers",
    "legend": "",
    "geo": "data disk legend",
    "evaluation.settings": "",
    "evaluation.certainty": "evaluation.settings",
    "evaluation.design": "data evaluation.certainty",
    "evaluation.features": "data evaluation.certainty",
    "evaluation.heads": "augment data models train evaluation.certainty "
    "evaluation.design evaluation.features evaluation.settings",
    "evaluation.trials": "data evaluation.certainty evaluation.design "
    "evaluation.features evaluation.heads evaluation.settings",
    "report": "data legend evaluation.certainty evaluation.trials",
    "card": "report store",
    "evaluation": "augment card data devices disk geo models report store towers "
    "evaluation.certainty evaluation.design evaluation.features evaluation.heads "
    "evaluation.settings evaluation.trials",
    "planning": "data devices losses models store train",
    "plan": "cli devices planning",
    "page": "disk report",
    "compare": "report",
    "views": "augment cli data models",
    "query": "cli data devices evaluation geo store",
    "eval": "cli devices evaluation",
    "embed": "cli devices evaluation",
    "explore": "cli data devices disk evaluation geo legend models store "
    "evaluation.features evaluation.heads evaluation.settings",
    "data_prep.running": "",
    "data_prep.files": "data disk",
    "data_prep.imagery": "data_prep.files",
    "data_prep.sources": "data data_prep.files data_prep.imagery",
    "data_prep.comparison": "data_prep.sources",
    "data_prep.regions": "data_prep.files data_prep.imagery data_prep.running",
    "data_prep.labels": "data data_prep.files data_prep.regions",
    "data_prep.pois": "data disk data_prep.files data_prep.regions",
    "data_prep.splits": "data data_prep.labels",
    "data_prep.city": "data data_prep.files data_prep.imagery data_prep.labels "
    "data_prep.pois data_prep.regions data_prep.running data_prep.splits",
    "data_prep.records": "data disk data_prep.city data_prep.files data_prep.imagery "
    "data_prep.pois data_prep.running",
    "data_prep.category_embedding": "cli data disk data_prep.files data_prep.pois "
    "data_prep.comparison data_prep.records data_prep.running",
    "data_prep.check": "data_prep.category_embedding data_prep.files "
    "data_prep.imagery data_prep.labels data_prep.pois data_prep.records "
    "data_prep.regions",
    "data_prep.import_released": "cli data data_prep.files data_prep.pois "
    "data_prep.comparison data_prep.records data_prep.running data_prep.sources",
    "data_prep.toy_city": "disk data_prep.running",
    "data_prep.generated": "data_prep.files data_prep.sources data_prep.toy_city",
    "data_prep.fitting": "data data_prep.category_embedding data_prep.comparison "
    "data_prep.generated data_prep.import_released data_prep.records "
    "data_prep.sources",
    "data_prep.alignment": "data_prep.files data_prep.imagery data_prep.pois",
    "data_prep.validate": "cli data disk legend report data_prep.alignment "
    "data_prep.check data_prep.labels data_prep.pois data_prep.running "
    "data_prep.sources",
    "data_prep.build": "cli data data_prep.category_embedding data_prep.check "
    "data_prep.city data_prep.comparison data_prep.fitting "
    "data_prep.generated data_prep.imagery data_prep.import_released "
    "data_prep.records data_prep.sources",
    "data_prep.first_config": "data disk data_prep.check data_prep.files "
    "data_prep.imagery data_prep.labels data_prep.pois data_prep.regions "
    "data_prep.splits",
    "init": "cli devices data_prep.first_config",
    "data_prep.fetch": "cli data devices disk data_prep.build data_prep.files "
    "data_prep.first_config data_prep.imagery data_prep.pois data_prep.running",
    "encoder": "card data devices evaluation geo models store",
    "convert": "card cli disk encoder models store",
    "preflight": "data devices evaluation.settings losses planning",
    "main": "cli data devices evaluation preflight train data_prep.build",
    "workflow": "data devices evaluation evaluation.trials preflight train "
    "data_prep.build data_prep.first_config",
    "ablation": "cli compare devices disk evaluation main",
    "evaluation.transfer": "data disk evaluation store evaluation.certainty "
    "evaluation.design evaluation.features evaluation.heads evaluation.settings "
    "evaluation.trials",
    "transfer": "cli data devices disk evaluation evaluation.transfer main report",
}

# Rooms, and single files, to which settings come as a ConfigDict.
SEES_CONFIGS = (
    "cli", "parts", "run_settings", "settings", "data.source", "data.remote", "train",
    "evaluation", "explore.__main__", "explore.city", "explore.command",
    "explore.serve", "planning", "plan", "preflight", "views", "convert", "query",
    "main", "embed", "eval",
    "ablation", "encoder", "workflow", "evaluation.transfer", "transfer",
)  # fmt: skip


def _module(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@functools.cache
def _imports(path, *, top_level_only=False, types=True):
    """Absolute names of what a file imports; `types`: also for annotations alone."""
    return tuple(_imported(path, top_level_only, types))


def _imported(path, top_level_only, types):
    tree = ast.parse(path.read_text())
    if not types:
        tree.body = [node for node in tree.body if not _is_for_types(node)]
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def _is_for_types(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _room(name):
    """The room of a module, or of what is imported from one; None outside."""
    parts = name.removeprefix("mmgr_jax.").split(".")
    if name.startswith("data_prep.") and "settings" in parts:
        return "settings"
    if name.startswith("data_prep."):
        return ".".join(parts[:2])
    if not name.startswith("mmgr_jax."):
        return None
    inner = ".".join(parts[:2])
    return inner if inner in ARROWS else parts[0]


def _found():
    """Room -> the rooms that it really imports, but for the ground."""
    found = {room: set() for room in ARROWS}
    for path in FILES:
        room = _room(_module(path))
        if room in ARROWS:
            names = {_room(name) for name in _imports(path)} - {None, room, *GROUND}
            found[room] |= {name for name in names if not name.startswith("__")}
    return found


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_every_module_stands_in_a_room_and_imports_what_that_may(path):
    module = _module(path)
    room = _room(module)
    if path.name == "__init__.py" and len(path.relative_to(ROOT).parts) == 2:
        names = _imports(path, top_level_only=True)
        loaded = {name for name in names if name.startswith(("mmgr_jax", "data_prep"))}
        assert loaded <= {"mmgr_jax.environment"}, module
        return
    assert room in ARROWS or room in GROUND, f"{module}: place its room in this test"
    allowed = {room, *GROUND, *ARROWS.get(room, "").split()}
    for name in _imports(path):
        if name.startswith(("mmgr_jax.", "data_prep.")) and "__version__" not in name:
            assert _room(name) in allowed, f"{module} imports {name}"
        assert not name.startswith(("benchmarks", "configs")), (module, name)


def test_arrows_point_down_and_all_are_used():
    order = list(ARROWS)
    for room, below in ARROWS.items():
        for name in below.split():
            assert order.index(name) < order.index(room), f"{room} -> {name} points up"
    assert {room: set(below.split()) for room, below in ARROWS.items()} == _found()


LIGHT = {"__future__", "annotated_types", "collections", "dataclasses", "pathlib"}
LIGHT |= {"ml_collections", "typing"}
SETTINGS = [
    path for path in FILES if path.name == "settings.py" and "data_prep" in path.parts
]


@pytest.mark.parametrize("path", SETTINGS, ids=_module)
def test_settings_see_the_ground_alone(path):
    for name in _imports(path):
        ground = _room(name) in GROUND or name == "mmgr_jax.settings"
        assert ground or name.split(".")[0] in LIGHT, name


def test_a_config_loads_no_library():
    heavy = "jax rasterio geopandas grain tensorflow_datasets matplotlib numpy pandas"
    code = "import configs.common, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not set(heavy.split()) & set(done.stdout.split())


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_libraries_stay_in_their_rooms(path):
    module = _module(path)
    room = _room(module) or module
    names = set(_imports(path, types=False))
    roots = {name.split(".")[0] for name in names}
    if room.startswith("data_prep") or room in ("data", "disk", "report"):
        assert not roots & {"jax", "flax", "optax", "orbax"}
    if room.startswith("data_prep"):
        for name in names:  # records, and no training; a page's pieces, and no report
            if name.startswith("mmgr_jax.data."):
                assert not name.startswith(
                    ("mmgr_jax.data.pipeline", "mmgr_jax.data.feature")
                ), name
            if name.startswith("mmgr_jax.report."):
                pieces = ("mmgr_jax.report.page.html", "mmgr_jax.report.page.tree")
                assert name.startswith(pieces), name
        return
    assert "orbax" not in roots or room == "store"
    linen = {name for name in names if name.startswith("flax")}
    if room == "store":  # what the state is made of, and names of leaves; no layers
        linen = {name for name in linen if name.startswith("flax.linen")}
    assert not linen or room == "models"
    geo = roots & {"rasterio", "geopandas", "pyogrio"}
    assert not geo or room == "geo"
    if "ml_collections" in roots:
        assert room in SEES_CONFIGS or module.removeprefix("mmgr_jax.") in SEES_CONFIGS


def test_preparation_and_maps_load_only_when_needed():
    for name in ("main", "embed", "evaluation/mapping"):
        path = ROOT / "mmgr_jax" / f"{name}.py"
        for imported in _imports(path, top_level_only=True):
            assert not imported.startswith(("data_prep", "mmgr_jax.geo")), imported


def _loaded(code, without=()):
    """Modules that are there after some code, in a process of its own."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({without!r})); {code}; "
        "print(*(name for name, module in sys.modules.items() if module))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert not said.returncode, said.stderr
    return set(said.stdout.split())


def test_a_config_is_composed_before_anything_heavy_is_loaded():
    loaded = _loaded("import configs.common; configs.common.base('a', 'EPSG:32651')")
    heavy = "jax flax numpy rasterio geopandas grain tensorflow_datasets matplotlib"
    assert "configs.common" in loaded and not loaded & set(heavy.split())


def test_losses_and_models_need_no_library_of_configs():
    """So that a bare machine with an accelerator can measure them."""
    without = ("ml_collections", "pydantic", "annotated_types", "grain")
    code = (
        "from mmgr_jax.losses import contrastive; from mmgr_jax.augment import views; "
        "from mmgr_jax.models import mmgr, settings; from mmgr_jax.train import step; "
        "mmgr.build(settings.ModelSettings(), num_categories=3, category_dim=4)"
    )
    assert "mmgr_jax.train.step" in _loaded(code, without)


def test_nothing_imports_tensorflow():
    for path in FILES:
        for name in _imports(path):
            assert name.split(".")[0] != "tensorflow", path


VAGUE = {"of", "told", "said", "found"}


@pytest.fixture(scope="module")
def walked():
    """All names in the code, its public classes, and where a name is vague."""
    names, classes, vague = set(), [], []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names |= {getattr(node, key, "") for key in ("id", "arg", "attr", "name")}
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                names |= {node.value} if len(node.value) < 40 else set()
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes.append(node.name)
            stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            if (stored and node.id in VAGUE) or (
                isinstance(node, ast.arg) and node.arg in VAGUE
            ):
                vague.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return names - {"", None}, classes, vague


def test_no_city_is_named_in_the_code(walked):
    """Cities live in configs/; comments may tell where a figure was measured."""
    names, _, _ = walked
    assert len(names) > 1000
    for name in names:
        assert not {"shanghai", "wuhan"} & set(str(name).lower().split("_")), name


def test_private_interfaces_of_jax_stand_in_one_file():
    using = [path.name for path in FILES if "jax._src" in path.read_text()]
    assert using == ["private.py"]


def test_no_two_public_classes_have_one_name(walked):
    _, names, _ = walked
    assert len(names) > 100
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_variables_are_named_by_what_they_hold(walked):
    _, _, vague = walked
    assert vague == []
