"""Names that stay in their folder; files that are whole, one's own, as private as."""

import csv
import errno
import io
import os
import subprocess
import sys
import threading

import pytest

from mmgr_jax import terminal
from mmgr_jax.disk import files


@pytest.mark.parametrize(
    "name",
    ["population", "人口", "gdp per head", "Zürich", "a.b", "R2=1 (new)", "कृषि", "9"],
)
def test_ordinary_names_stay(name):
    assert files.safe_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "../../../escaped", "..", ".", "", "/etc/passwd", "a/b", "a\\b", "-rf",
        ".hidden", "a\0b", "a\nb", "con\x1b[2J", "x" * 400, "人" * 200, "Zu\u0308rich",
        "a\ud800", " a", "a.", "a:b", "$(id)", "~", "a\u202eb",
    ],
)  # fmt: skip
def test_other_names_stay_in_their_folder(name, tmp_path):
    safe = files.safe_name(name)
    assert (tmp_path / f"{safe}_certainty.png").resolve().parent == tmp_path.resolve()
    assert safe not in ("", ".", "..") and safe[0] not in ".-~ "
    assert len(safe.encode()) <= files.MOST_BYTES + 9
    assert terminal.visible(safe) == safe
    (tmp_path / safe).write_text("can be made")
    assert os.listdir(tmp_path) == [safe]


def test_different_names_stay_different():
    names = ["a/b", "a_b", "a\\b", "a:b", "x" * 300, "x" * 301, "é", "e\u0301", "", "."]
    assert len({files.safe_name(name) for name in names}) == len(names)
    assert files.safe_name("a/b") == files.safe_name("a/b")


def test_a_link_gives_way_and_what_it_points_to_stays(tmp_path):
    theirs = tmp_path / "theirs.txt"
    theirs.write_text("theirs")
    ours = tmp_path / "out" / "report.html"
    ours.parent.mkdir()
    ours.symlink_to(theirs)
    files.write_text(ours, "ours")
    assert theirs.read_text() == "theirs"
    assert ours.read_text() == "ours" and not ours.is_symlink()
    assert os.listdir(ours.parent) == ["report.html"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0, 0o666)])
def test_files_are_as_private_as_the_umask_says(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "file", "a")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_nobody_foresees_the_name_of_a_half_written_file(tmp_path):
    seen = set()
    for _ in range(2):
        with files.replacing(tmp_path / "file") as temporary:
            seen.add(temporary.name)
            assert temporary.parent == tmp_path and temporary.stat().st_size == 0
    assert len(seen) == 2


def test_after_an_error_the_file_is_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["file"]


def test_a_failure_names_the_file_that_was_meant(tmp_path):
    with pytest.raises(OSError) as full, files.replacing(tmp_path / "file"):
        raise OSError(28, "No space left on device")
    assert full.value.filename == str(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as folder:
        files.write_text(tmp_path / "folder", "a")
    assert folder.value.filename == str(tmp_path / "folder")


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    """A limit of the process stands in for the disk: a refusal in the middle."""
    path = tmp_path / "report.html"
    path.write_text("before")
    code = (
        "import pathlib, resource, signal, sys\n"
        "from mmgr_jax import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    files.write_text(pathlib.Path(sys.argv[1]), 'x' * 100_000)\n"
        "except OSError as error:\n"
        "    print(error.errno, error.filename)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True
    )
    assert told.stdout == f"{errno.EFBIG} {path}\n", told.stderr
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["report.html"]


def test_what_a_killed_writer_left_is_removed_and_a_living_one_keeps_its_own(tmp_path):
    path = tmp_path / "report.json"
    code = (
        "import os, pathlib, sys\n"
        "from mmgr_jax import files\n"
        "with files.replacing(pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".report.json.")
    (tmp_path / ".report.json.mine").write_text("not of this kind")
    with files.replacing(path) as ours:
        assert not (tmp_path / left).exists()
        thread = threading.Thread(target=files.write_text, args=(path, "other"))
        thread.start()
        thread.join()
        assert ours.exists()
    assert sorted(os.listdir(tmp_path)) == [".report.json.mine", "report.json"]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
        ("+HYPERLINK(1)", "'+HYPERLINK(1)"),
        ("\t=1", "'\t=1"),
        ("-12_34", "-12_34"),
        ("+7", "+7"),
        ("-0.5", "-0.5"),
        ("cafe 4, bank 1", "cafe 4, bank 1"),
        ("", ""),
    ],
)
def test_cells_are_no_formulas(cell, written):
    assert files.no_formula(cell) == written
    kept = io.StringIO()
    csv.writer(kept).writerow([files.no_formula(cell)])
    kept.seek(0)
    assert next(csv.reader(kept), [""]) == [written]


def test_text_does_not_act():
    told = terminal.visible("a\x1b[2J\x9b1m\u202eb\nc\x00\ud800é人👩\u200d🌾")
    assert told == "a\\x1b[2J\\x9b1m\\u202eb\\x0ac\\x00\\ud800é人👩\u200d🌾"
    assert terminal.visible("a\n\tb\r", keep="\n\t") == "a\n\tb\\x0d"


def _run(code, **given):
    return subprocess.run(
        [sys.executable, "-c", f"from mmgr_jax import terminal\n{code}"],
        text=True, timeout=60, **given,
    )  # fmt: skip


SAY = (
    "import sys, logging\nterminal.guard_output()\n"
    "logging.basicConfig(stream=sys.stdout, level=20)\n"
    "for i in range(20000): print(i, flush=True); logging.info('told')\n"
    "open(sys.argv[1], 'w').write('done')\n"
)


def _say(tmp_path, end):
    done = tmp_path / "done"
    shell = f'"{sys.executable}" -c "$1" "$2" {end}'
    found = subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell, "bash",
         f"from mmgr_jax import terminal\n{SAY}", str(done)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.read_text() == "done" and found.returncode == 0, found.stderr
    return found.stderr


def test_a_closed_pipe_ends_what_is_told_and_not_the_work(tmp_path):
    assert _say(tmp_path, "| head -1") == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_behind_the_output_is_told_once(tmp_path):
    told = _say(tmp_path, "> /dev/full")
    assert told.count("No space left on device") == 1 and told.count("\n") == 1


def test_there_may_be_no_output_at_all(tmp_path):
    assert _say(tmp_path, ">&- 2>&-") == ""


def test_characters_that_a_terminal_lacks_are_told_by_number():
    found = _run(
        "terminal.guard_output(); print('R² 人 \\x1b \\udcff')",
        env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True,
    )  # fmt: skip
    assert found.stdout == "R\\xb2 \\u4eba \\x1b \\udcff\n"
