"""Records on object storage: brought here whole or not at all, and once."""

import dataclasses
import logging
import re
import shutil
import threading

import http_folder
import numpy as np
import pytest
import small_records

from mmgr_jax import addresses
from mmgr_jax.data import opening, remote, schema, server
from mmgr_jax.data.settings import CorpusSettings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

SECRET = "sig=very%2Fsecret"


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "records"
    folder.mkdir()
    return small_records.write_records(folder)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "_cache_folder", str(tmp_path / "cache"))
    monkeypatch.setattr(server, "WAITS_S", (0.01,) * 4)
    monkeypatch.setattr(server, "FEW_WAITS_S", (0.01,))
    monkeypatch.setattr(server, "BLOCK_BYTES", 10_000)
    return tmp_path / "cache"


@pytest.fixture
def served(records, tmp_path, cache):
    root = tmp_path / "served"
    shutil.copytree(records, root / "small/records")
    with http_folder.serving(root) as folder:
        yield folder


@pytest.fixture
def address(served):
    return f"{served.address}/small/records"


def _shards(folder):
    return sorted(path.name for path in folder.glob("*array_record*"))


def _same(source, records):
    here, there = source.read(range(len(source))), RecordSource(records)
    assert len(source) == len(there)
    for ours, theirs in zip(here, there.read(range(len(there))), strict=True):
        np.testing.assert_equal(ours, theirs)
    assert source.identity == there.identity


def test_a_copy_is_made_once_and_the_manifest_read_each_time(
    served, address, records, cache, caplog
):
    caplog.set_level(logging.INFO)
    source = RecordSource(address + "/")
    _same(source, records)
    assert source.place == address and source.lies_in(address)
    assert source.records_dir.is_relative_to(cache) and not source.lies_in(records)
    assert re.search(r"4 of 4 files, 0\.\d MiB, to ", caplog.text)
    sizes = {path.name: path.stat().st_size for path in records.iterdir()}
    for name in (*_shards(records), schema.CATEGORY_VECTORS_FILE):
        assert served.sent[name] == sizes[name]
    served.gets.clear()
    RecordSource(address)
    assert served.gets == {schema.MANIFEST_FILE: 1}


@pytest.mark.parametrize("fault", ["cut", 500])
def test_what_fails_for_a_while_is_asked_for_again(served, address, records, fault):
    shard = _shards(records)[1]
    served.faults = {shard: [None, fault, fault], schema.MANIFEST_FILE: [fault]}
    _same(RecordSource(address), records)
    size = (records / shard).stat().st_size
    assert size <= served.sent[shard] < size + 2 * server.BLOCK_BYTES


def test_a_partial_file_is_gone_on_with_and_is_never_whole(
    served, address, records, cache
):
    shard = _shards(records)[1]
    served.faults = {shard: [None, *["cut"] * 9]}
    with pytest.raises(InputError, match="goes on from what was brought"):
        RecordSource(address)
    assert not [path for path in cache.rglob(shard) if "partial" not in str(path)]
    part = next(cache.rglob(f"{shard}.part"))
    assert part.stat().st_size == server.BLOCK_BYTES
    served.faults, served.sent = {}, {}
    _same(RecordSource(address), records)
    rest = (records / shard).stat().st_size - server.BLOCK_BYTES
    assert served.sent[shard] == rest and not part.exists()


def test_a_server_without_ranges_gives_whole_files(served, address, records):
    served.ranges = False
    shard = _shards(records)[0]
    served.faults = {shard: ["cut"]}
    _same(RecordSource(address), records)


def _damage(path, how):
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "changed":
        path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    else:
        path.write_bytes(data[:-50] if how == "truncated" else data + b"x")


@pytest.mark.parametrize("how", ["missing", "changed", "truncated", "longer"])
def test_what_is_damaged_on_the_server_is_named_and_not_taken(
    served, address, records, cache, how
):
    shard = _shards(records)[2]
    _damage(served.root / "small/records" / shard, how)
    cause = "is missing" if how == "missing" else "other bytes than its manifest says"
    with pytest.raises(InputError, match=f"{shard}.*{cause}"):
        RecordSource(address)
    assert not list(cache.rglob(f"{shard}*"))
    shutil.copy(records / shard, served.root / "small/records")
    _same(RecordSource(address), records)


def test_a_damaged_copy_is_mended(served, address, records):
    shard = RecordSource(address).records_dir / _shards(records)[0]
    _damage(shard, "truncated")
    served.sent.clear()
    _same(RecordSource(address), records)
    assert set(served.sent) == {schema.MANIFEST_FILE, shard.name}


def test_changed_records_are_another_copy_and_the_former_stays_while_read(
    served, address, records, cache
):
    before = RecordSource(address)
    folder = before.records_dir
    there = served.root / "small/records"
    np.save(there / schema.CATEGORY_VECTORS_FILE, np.ones((5, 16), np.float32))
    schema.Manifest.load(there).save(there, [schema.CATEGORY_VECTORS_FILE])
    served.sent.clear()
    now = RecordSource(address)
    assert not set(served.sent) & set(_shards(records))  # shards are the same
    assert now.identity["vectors"] != before.identity["vectors"]
    assert now.identity["inputs"] == before.identity["inputs"]
    assert folder.exists() and now.records_dir != folder
    _same(before, records)
    del before
    (there / schema.MANIFEST_FILE).write_text(
        (records / schema.MANIFEST_FILE).read_text()
    )
    shutil.copy(records / schema.CATEGORY_VECTORS_FILE, there)
    again = RecordSource(address)
    assert again.records_dir == folder and now.records_dir.exists()
    del now
    schema.Manifest.load(there).save(there)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()]


def test_a_manifest_that_was_edited_is_refused_by_its_address(served, address):
    path = served.root / "small/records" / schema.MANIFEST_FILE
    path.write_text(path.read_text().replace('"small"', '"other"'))
    with pytest.raises(InputError, match=f"{address}/manifest.json: city edited"):
        RecordSource(address)
    path.unlink()
    with pytest.raises(InputError, match=f"{address}: there is no manifest.json"):
        RecordSource(address)


def test_without_a_server_a_whole_copy_is_read_and_said_to_be(
    records, tmp_path, cache, caplog
):
    with http_folder.serving(records) as folder:
        address = folder.address
        folder.faults = {_shards(records)[0]: [500] * 9}
        with pytest.raises(InputError, match="HTTP status 500"):
            RecordSource(address)
    with pytest.raises(InputError, match="cannot be read"):
        RecordSource(address)
    with http_folder.serving(records) as folder:
        address = folder.address
        RecordSource(address)
    _same(RecordSource(address), records)
    assert f"{address}: cannot be reached" in caplog.text
    assert "the whole copy in" in caplog.text


def test_those_who_want_the_same_at_once_fetch_it_once(served, address, records):
    sources = []
    threads = [
        threading.Thread(target=lambda: sources.append(RecordSource(address)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({source.records_dir for source in sources}) == 1
    for shard in _shards(records):
        assert served.sent[shard] == (records / shard).stat().st_size


def test_a_signature_is_used_and_never_shown(
    served, address, records, cache, monkeypatch, caplog
):
    caplog.set_level(logging.DEBUG, "mmgr_jax")
    signed = f"{served.address}/small?{SECRET}"
    with pytest.raises(InputError, match="MMGR_SIGNED_URLS") as error:
        RecordSource(f"{address}?{SECRET}")
    assert "secret" not in str(error.value)
    with pytest.raises(InputError, match="password") as error:
        addresses.checked("https://me:secret@host/records")
    assert "secret" not in str(error.value)
    monkeypatch.setenv(addresses.SIGNED_URLS, f"http://elsewhere/x?a=b {signed}")
    served.faults = {_shards(records)[0]: [500] * 9}
    with pytest.raises(InputError, match="HTTP status 500") as error:
        RecordSource(address)
    served.faults, served.queries = {}, set()
    RecordSource(address)
    assert served.queries == {SECRET}
    texts = [caplog.text, str(error.value), repr(error.value.__context__)]
    texts += [str(path) for path in cache.rglob("*")]
    texts += [path.read_text() for path in cache.rglob("*.json")]
    assert not [text for text in texts if "secret" in text]


def test_messages_of_libraries_are_told_without_what_is_secret():
    error = OSError(f"GET https://me:pw@host/a?{SECRET} failed, 'http://b?{SECRET}'")
    assert server._cause(error) == "GET https://host/a?... failed, 'http://b?...'"


def test_patterns_are_listed_and_remembered(records, cache, caplog):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(records), "/bucket/alba/records", recursive=True)
    memory.mkdirs("/bucket/unfinished/records")
    settings = CorpusSettings(records=("memory://bucket/*/records",), weights=(2.0,))
    named = opening.folders(settings)
    assert [one.path for one in named] == ["memory://bucket/alba/records"]
    _same(RecordSource(named[0].path), records)
    twice = ("memory://bucket/*/records", "memory://bucket/alba/records/")
    with pytest.raises(InputError, match="is named twice"):
        opening.folders(CorpusSettings(records=twice))
    with pytest.raises(InputError, match="no folder fits"):
        opening.folders(CorpusSettings(records=("memory://bucket/x*/records",)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(memory), "glob", _unreachable)
        assert opening.folders(settings) == named
        assert "cannot be listed (gone)" in caplog.text
    memory.rm("/bucket", recursive=True)


def _unreachable(*_, **__):
    raise ConnectionError("gone")


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(server._CLIENTS, "gs", "no_such_client")
    with pytest.raises(InputError, match=r"gs:// needs no_such_client.*gcsfs for gs"):
        RecordSource("gs://bucket/records")
    with pytest.raises(InputError, match="cannot be opened"):
        RecordSource("nowhere://bucket/records")


def test_records_behind_an_address_are_taken_as_they_are(served, address, tmp_path):
    from data_prep import build

    config = small_records.config_of(address, tmp_path)
    assert build.ensure(config) == RecordSource(address).records_dir
    with pytest.raises(InputError, match="but not built there"):
        build.build(config)
    there = served.root / "small/records"
    manifest = schema.Manifest.load(there)
    dataclasses.replace(manifest, config={"regions": {"gsd_m": 9.0}}).save(there)
    with pytest.raises(InputError, match=r"made with other settings \(.*regions"):
        build.ensure(config)


def test_room_is_looked_for_before(served, address, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"MiB are to be copied.*config.records_cache"):
        RecordSource(address)
