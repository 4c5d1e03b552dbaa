"""Whose a records folder is: builds replace their own files, one at a time."""

import json
import os
import shutil

import pytest
from small_records import write_records

from data_prep import build
from data_prep.category_embedding import command as vector_command
from data_prep.records import writer
from mmgr_jax.data import schema
from mmgr_jax.disk import folders, locks, marks
from mmgr_jax.errors import InputError


def _other_settings(city):
    city.config.regions.min_coverage = 0.9 if city.regions.min_coverage < 0.9 else 0.5


def test_a_manifest_of_another_program_makes_no_records(city):
    theirs = city.folder / "website"
    theirs.mkdir()
    (theirs / "manifest.json").write_text('{"name": "app", "icons": []}')
    (theirs / "index.html").write_text("years of work")
    before = city.contents()
    city.config.records.dir = str(theirs)
    with pytest.raises(InputError, match="website: exists, but holds no records"):
        build.build(city.config)
    with pytest.raises(InputError):
        build.ensure(city.config)
    assert city.contents() == before


@pytest.mark.parametrize("marked", [True, False])
def test_files_of_others_among_records_stay(city, marked):
    folder = city.folder / "records"
    if not marked:  # as earlier versions left it
        (folder / marks.MARK).unlink()
    (folder / "notes.txt").write_text("mine")
    (folder / "plots").mkdir()
    (folder / "plots/a.png").write_text("mine, too")
    _other_settings(city)
    build.ensure(city.config)
    assert schema.Manifest.load(folder).config["regions"]["min_coverage"] != 0.95
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "plots/a.png").read_text() == "mine, too"
    assert sorted(path.name for path in city.folder.iterdir()) == ["raw", "records"]


def test_a_linked_folder_of_records_stays_a_link(city):
    disk = city.folder / "disk"
    disk.mkdir()
    (city.folder / "records").rename(disk / "kept")
    (city.folder / "records").symlink_to("disk/kept")
    _other_settings(city)
    build.ensure(city.config)
    assert os.readlink(city.folder / "records") == "disk/kept"
    assert [path.name for path in disk.iterdir()] == ["kept"]
    schema.Manifest.load(disk / "kept")


def test_folders_named_like_unfinished_ones_stay(city):
    theirs = city.folder / "records.partial-mine"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("years of work")
    (city.folder / "records.replaced").mkdir()
    (city.folder / "records.replaced" / "thesis.tex").write_text("years of work")
    _other_settings(city)
    build.ensure(city.config)
    assert (theirs / "thesis.tex").exists()
    assert (city.folder / "records.replaced" / "thesis.tex").exists()


def test_what_an_earlier_version_left_unfinished_goes(city):
    left = city.folder / "records.partial-0123456789ab"
    left.mkdir()
    name = schema.shard_name("small_city", 0, 3)
    for end in ("", ".json", ".tmp"):
        (left / f"{name}{end}").write_text("half")
    _other_settings(city)
    build.ensure(city.config)
    assert not left.exists()


@pytest.mark.parametrize("command", [build.build, vector_command.write_to_records])
def test_two_that_write_records_meet(city, command):
    before = city.contents()
    lock = folders.lock_of((city.folder / "records").resolve())
    with (
        locks.held(lock, "a build of records", "wait"),
        pytest.raises(InputError, match=f"a build of records, process {os.getpid()} "),
    ):
        command(city.config)
    assert city.contents() == before


def test_records_are_not_replaced_under_a_reader(city):
    before = city.contents()
    _other_settings(city)
    with (
        locks.kept(city.folder / "records" / schema.MANIFEST_FILE),
        pytest.raises(InputError, match="records: a training or an evaluation reads"),
    ):
        build.ensure(city.config)
    assert city.contents() == before
    build.ensure(city.config)


def test_records_killed_between_two_renames_are_put_back(city):
    folder = city.folder / "records"
    before = city.contents()
    folder.rename(city.folder / ".records.replaced-01234567")
    with writer.alone(folder):
        pass
    assert city.contents() == before


def test_records_of_another_maker_are_ours_by_their_manifest(tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    write_records(folder)
    assert marks.own(folder, writer.KIND, writer._entries)
    told = json.loads((folder / schema.MANIFEST_FILE).read_text())
    del told["shard_lengths"]
    (folder / schema.MANIFEST_FILE).write_text(json.dumps(told))
    assert not marks.own(folder, writer.KIND, writer._entries)
    shutil.rmtree(folder)
