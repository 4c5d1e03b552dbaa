"""The wheel: what is in it, and that it works from an empty folder."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from mmgr_jax import __version__, command_line, config_files, endings
from mmgr_jax.extras import install

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(path):
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("-r")]


def test_extras_are_the_requirements_files():
    extras = dict(PROJECT["optional-dependencies"])
    (jax,) = (
        line
        for line in requirements(ROOT / "requirements.txt")
        if line.startswith("jax>")
    )
    for name, part in (("cuda", "jax[cuda12]"), ("tpu", "jax[tpu]")):
        assert extras.pop(name) == [jax.replace("jax", part, 1)]
    files = {"torch": "convert"}
    for name, lines in extras.items():
        path = ROOT / f"requirements-{files.get(name, name)}.txt"
        assert lines == requirements(path), name
    optional = {path.stem.partition("-")[2] for path in ROOT.glob("requirements-*.txt")}
    assert {files.get(name, name) for name in extras} == optional - {
        "benchmarks", "dev",
    }  # fmt: skip


def test_how_to_install_is_said_in_one_place_and_for_extras_there_are():
    """So that it is true for who has the wheel, and for who has a checkout."""
    extras, elsewhere = set(), []
    for folder in ("mmgr_jax", "data_prep"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            extras |= set(re.findall(r"\binstall\(['\"](\w+)['\"]\)", text))
            if "requirements-" in text and path.name != "extras.py":
                elsewhere.append(path.name)
    assert elsewhere == []
    assert extras >= {"fetch", "explore", "remote", "text", "torch", "osm", "beam"}
    for extra in extras | set(endings._OPTIONAL.values()):
        assert extra in PROJECT["optional-dependencies"]
        file = re.search(r"-r (\S+\.txt)", install(extra))
        assert file and (ROOT / file[1]).exists()


def tracked(*folders):
    done = subprocess.run(
        ["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip("no git checkout")
    return set(done.stdout.split())


def test_every_config_of_ours_is_shipped_and_no_other():
    tree = ast.parse((ROOT / "setup.py").read_text())
    (names,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CONFIGS"
    )
    ours = {Path(name).stem for name in tracked("configs")} - {"settings_page"}
    assert set(names) == ours


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of what git knows, and of a file that it does not."""
    folder = tmp_path_factory.mktemp("build")
    for name in tracked("mmgr_jax", "data_prep", "configs", "*.toml", "*.txt", "*.py"):
        if "/" in name or name in ("setup.py", "pyproject.toml", "requirements.txt"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / "README.md").write_text("x")
    (folder / "configs/mine.py").write_text("SECRET = 1")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", "out", "."],
        cwd=folder,
        check=True,
    )
    (path,) = (folder / "out").glob("*.whl")
    return path


@pytest.mark.slow
def test_a_wheel_holds_the_program_and_nothing_else(wheel):
    names = {
        name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name
    }
    own = tracked("mmgr_jax", "data_prep")
    configs = {
        f"mmgr_jax/shipped/{name}"
        for name in tracked("configs") - {"configs/settings_page.py"}
    }
    assert names == own | configs


@pytest.mark.slow
def test_it_works_from_an_empty_folder(wheel, tmp_path):
    site, folder = tmp_path / "site", tmp_path / "empty"
    folder.mkdir()
    install = ["install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)

    def mmgr(*arguments):
        done = subprocess.run(
            [sys.executable, str(site / "bin/mmgr"), *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    status, text = mmgr("--help")
    assert status == 0 and "mmgr main --config=toy_city" in text
    assert mmgr("evall") == (
        2,
        "error: mmgr evall: there is no such command (did you mean 'eval'?). See mmgr "
        "--help.\n",
    )
    status, text = mmgr(
        "main", "--config=toy_city:smoke", "--config.eval.curves.methods=()"
    )
    assert status == 0, text
    assert (folder / "runs/toy_city_smoke/eval/report.html").exists()
    raw = folder / "data/toy_city_smoke/raw"
    status, text = mmgr(
        "init", f"--imagery={raw}/imagery.tif", f"--pois={raw}/pois.parquet",
        f"--labels={raw}/population.tif", "--name=town",
    )  # fmt: skip
    assert status == 0 and (folder / "configs/town.py").exists(), text
    status, text = mmgr("main", "--config=town", "--dry_run")
    assert status == 0 and "training:" in text, text
    assert not list(folder.glob("site"))


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", text, re.MULTILINE) == [__version__]
    (released,) = re.findall(r"^date-released: (.*)$", text, re.MULTILINE)
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{__version__}] - {released}" in changes


def test_help_lists_every_command_and_each_has_a_module():
    text = command_line.usage()
    for name, (module, what) in command_line.COMMANDS.items():
        assert f"  {name} " in text and what in text
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
    readme = (ROOT / "README.md").read_text()
    modules = set(re.findall(r"`python -m ((?:mmgr_jax|data_prep)\.\w+)", readme))
    assert modules <= {module for module, _ in command_line.COMMANDS.values()}


def test_configs_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = str(config_files.folder() / "toy_city.py")
    for name in ("toy_city", "toy_city.py", "configs/toy_city.py"):
        assert config_files.resolved(name) == ours
    assert config_files.resolved("toy_city:smoke") == f"{ours}:smoke"
    assert config_files.resolved("nowhere") == "nowhere"
    assert config_files.resolved("elsewhere/toy_city.py") == "elsewhere/toy_city.py"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/toy_city.py").write_text("")
    for name in ("configs/toy_city.py", "toy_city"):
        assert config_files.resolved(name) == "configs/toy_city.py"
