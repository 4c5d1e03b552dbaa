import dataclasses
import shutil
import struct
import sys
import zlib
from pathlib import Path

import forks
import numpy as np
import pytest
import released_sample
import shapely
from oracles import import_oracle
from PIL import Image
from released_sample import EMPTY, GREY, NAMES, PALETTE, RGBA, SINGLE, SIZE_PX

from configs import common
from data_prep import build
from data_prep.category_embedding import command as vector_command
from data_prep.import_released import command, sample
from data_prep.records import shards
from mmgr_jax.data import folds, pipeline, schema
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.features import features
from mmgr_jax.geo import maps, writers

torch = import_oracle("torch")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The config of the sample, and its records."""
    config = released_sample.write(tmp_path_factory.mktemp("released"))
    return config, command.import_records(config)


@pytest.fixture(scope="module")
def source(written):
    return RecordSource(written[1])


@pytest.fixture
def config(written, tmp_path):
    """A copy of the sample that a test may spoil; its records are not made yet."""
    raw = Path(written[0].released_sample.dir)
    shutil.copytree(raw, tmp_path / "raw")
    return released_sample.describe(str(tmp_path / "raw"))


def _record(source, index):
    found = source[index]
    assert found["region_id"] == NAMES[index]
    return found


def _path(config, folder, index, suffix=".tensor"):
    return (
        Path(config.released_sample.dir, released_sample.FOLDERS[folder])
        / f"{NAMES[index]}{suffix}"
    )


# ---- what the records hold ----


def test_vectors_come_back_bit_for_bit(written, source):
    config, _ = written
    table = source.category_vectors()
    assert table.shape == (6, 64) and table.dtype == np.float32
    for index in range(len(NAMES)):
        stored = torch.load(_path(config, "vector_dir", index), weights_only=True)
        assert stored.shape[1] == 64
        category = _record(source, index)["poi/category"]
        assert category.dtype == np.int32
        assert table[category].tobytes() == stored.numpy().tobytes()


def test_categories_are_ranked_by_frequency_then_bytes_in_any_order_of_files():
    vectors = released_sample.category_vectors()
    category = np.array([3, 3, 3, 0, 1, 5, 4, 0, 3])
    tables = []
    for order in (np.arange(9), np.arange(9)[::-1]):
        rows = vectors[category[order]]
        table, ids = sample.categories(rows)
        assert table[ids].tobytes() == rows.tobytes()
        tables.append(table)
    once = sorted(vectors[number].tobytes() for number in (1, 4, 5))
    expected = [vectors[3].tobytes(), vectors[0].tobytes(), *once]
    assert [row.tobytes() for row in tables[0]] == expected
    assert tables[0].tobytes() == tables[1].tobytes()


def test_edges_are_kept_once(written, source):
    utils = import_oracle("torch_geometric.utils")
    stored, loops = 0, 0
    for index, (_, edges) in enumerate(released_sample.poi_sets()):
        record = _record(source, index)
        plain, _ = utils.remove_self_loops(torch.tensor(edges))
        both = utils.coalesce(utils.to_undirected(plain))
        expected = both[:, both[0] < both[1]].T.numpy()
        np.testing.assert_array_equal(record["poi/edges"], expected)
        assert record["poi/edge_weight"].tolist() == [1.0] * len(expected)
        stored += edges.shape[1]
        loops += int((edges[0] == edges[1]).sum())
    report = source.manifest.report
    kept = sum(len(source[index]["poi/edges"]) for index in range(len(source)))
    assert report["edges"] == kept and loops > 0
    assert report["edges dropped"] == {
        "second directions and repeats": stored - loops - kept,
        "loops": loops,
    }


def test_images_become_rgb(source):
    for index in range(len(NAMES)):
        stored = released_sample.image(index)
        pixels = np.asarray(stored)
        if index == GREY:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        if index == PALETTE:
            pixels = np.array(stored.getpalette("RGB")).reshape(-1, 3)[pixels]
        found = _record(source, index)["image"]
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, pixels[..., :3])  # alpha is not blended
    assert source.manifest.report["images changed"] == {
        "alpha dropped": 1,
        "grey to RGB": 1,
        "palette to RGB": 1,
    }


def test_a_palette_with_transparency_keeps_its_colours(config):
    path = _path(config, "image_dir", PALETTE, ".png")
    stored = released_sample.image(PALETTE)
    stored.save(path, transparency=bytes(range(0, 160, 10)))
    source = RecordSource(command.import_records(config))
    colours = np.array(stored.getpalette("RGB")).reshape(-1, 3)[np.asarray(stored)]
    np.testing.assert_array_equal(_record(source, PALETTE)["image"], colours)
    assert source.manifest.report["images changed"]["alpha dropped"] == 2


def test_labels_are_numbers_or_nan(source):
    for index, name in enumerate(NAMES):
        value = _record(source, index)["label/population"]
        if index < 9:
            assert value == np.float32(released_sample.POPULATION[name])
        else:
            assert np.isnan(value)
    label = source.manifest.labels["population"]
    assert label == schema.Label(
        "density", "persons/km2", year=2020, source="WorldPop", licence="CC BY 4.0"
    )
    assert source.manifest.report["regions without population"] == 3


def test_the_manifest_says_what_is_unknown(source):
    manifest = source.manifest
    assert (manifest.crs, manifest.tile_size_m, manifest.block_size_m) == ("", 0.0, 0.0)
    assert manifest.num_regions == 12 and manifest.shard_lengths == (4, 4, 4)
    counts = [len(vectors) for vectors, _ in released_sample.poi_sets()]
    assert manifest.max_pois == max(counts)
    assert manifest.empty_share == pytest.approx(1 / 12)
    assert manifest.categories == manifest.category_parents
    assert manifest.categories == tuple(f"category_00{index}" for index in range(6))
    unknown = " ".join(manifest.report["unknown"])
    for text in ("offsets are 0", "each weighs 1", "random splits", "tile is on the"):
        assert text in unknown
    assert set(manifest.sources) == {
        "released.images/sub_shanghai_img",
        "released.vectors/sub_shanghai_emb",
        "released.edges/sub_shanghai_edge",
        "released.population/pop1km",
    }
    for index in (EMPTY, SINGLE, RGBA):
        record = _record(source, index)
        assert record["poi/offset_m"].shape == (counts[index], 2)
        assert not record["poi/offset_m"].any()
        assert shapely.from_wkb(record["geometry"]).is_empty


# ---- what the records are good for ----


def test_batches_hold_the_empty_set(source):
    (batch,) = pipeline.epoch_batches(source, batch_size=12, num_threads=1)
    assert batch["image"].shape == (12, SIZE_PX, SIZE_PX, 3)
    counts = [len(vectors) for vectors, _ in released_sample.poi_sets()]
    np.testing.assert_array_equal(batch["poi_mask"].sum(axis=1), counts)


def test_every_region_is_a_block_whatever_the_files_order(source):
    regions = features.read_regions(source)
    assert sorted(regions.block_id) == list(range(12))
    assert list(regions.block_id) != list(range(12))
    fold = folds.by_block([str(block) for block in regions.block_id], num_folds=4)
    assert np.bincount(fold).tolist() == [3, 3, 3, 3]


def test_without_a_place_maps_and_tables_are_refused(source, tmp_path):
    regions = features.read_regions(source)
    places = dict(geometry_wkb=regions.geometry_wkb, crs=source.manifest.crs)
    with pytest.raises(InputError, match="CRS '' is unknown"):
        writers.write_embeddings(
            tmp_path / "embeddings.parquet",
            region_ids=regions.region_ids,
            embeddings=np.zeros((12, 2)),
            columns={},
            metadata={},
            **places,
        )
    with pytest.raises(InputError, match="CRS '' is unknown"):
        maps.task_map(
            tmp_path / "population.png",
            truth=regions.labels["population"].astype(np.float64),
            prediction=np.zeros(12),
            label=source.manifest.labels["population"],
            task="population",
            **places,
        )
    assert not list(tmp_path.iterdir())


# ---- faults ----


def _png_of_16_bit_colours(path):
    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", SIZE_PX, SIZE_PX, 16, 2, 0, 0, 0)
    rows = (b"\0" + bytes(SIZE_PX * 6)) * SIZE_PX
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def _spoil_tensors(config):
    _path(config, "vector_dir", 0).unlink()
    _path(config, "edge_dir", 1).unlink()
    for index, rows in (
        (5, torch.zeros(2, 64, dtype=torch.float64)),
        (6, torch.zeros(2, 63)),
        (7, torch.tensor([[0.0] * 63 + [float("nan")]])),
        (8, {"x": torch.zeros(2, 64)}),
    ):
        torch.save(rows, _path(config, "vector_dir", index))
    _path(config, "vector_dir", 9).write_bytes(b"not a tensor")
    n = len(torch.load(_path(config, "vector_dir", 10), weights_only=True))
    torch.save(torch.tensor([[0, 1], [1, n]]), _path(config, "edge_dir", 10))
    torch.save(torch.zeros(2, 3), _path(config, "edge_dir", 11))


def _spoil_images(config):
    _path(config, "image_dir", 2, ".png").unlink()
    deep = np.arange(SIZE_PX**2, dtype=np.uint16).reshape(SIZE_PX, SIZE_PX)
    Image.fromarray(deep).save(_path(config, "image_dir", 3, ".png"))
    _png_of_16_bit_colours(_path(config, "image_dir", 4, ".png"))
    released_sample.image(8, 40).save(_path(config, "image_dir", 8, ".png"))
    narrow = Image.fromarray(np.zeros((32, 30, 3), np.uint8))
    narrow.save(_path(config, "image_dir", 9, ".png"))
    path = _path(config, "image_dir", 10, ".png")
    path.write_bytes(path.read_bytes()[:200])


def _spoil_texts(config):
    folder = Path(config.released_sample.dir, "pop1km")
    (folder / f"{NAMES[5]}.txt").write_text("12.5 13.5\n")
    (folder / f"{NAMES[6]}.txt").write_text("-99999")


def test_all_faults_are_told_at_once_by_name(config):
    _spoil_tensors(config)
    _spoil_images(config)
    _spoil_texts(config)
    with pytest.raises(InputError) as error:
        command.import_records(config)
    told = str(error.value)
    for text in (
        "released: 12 problem(s), nothing was built.",
        f"sub_*_emb: no X.tensor for regions of the other folders (1): '{NAMES[0]}'.",
        f"sub_*_edge: no X.tensor for regions of the other folders (1): '{NAMES[1]}'.",
        f"sub_*_img: no X.png for regions of the other folders (1): '{NAMES[2]}'.",
        f"more than 8 bits a channel; scale all of them alike to 8 bits, such as with "
        "`gdal_translate -ot Byte -scale LOW HIGH 0 255 IN OUT` (2): "
        f"'{NAMES[3]}.png', '{NAMES[4]}.png'.",
        "not square, or not of the 32 px that most have; cut or resize it (2): "
        f"'{NAMES[8]}.png: 40 x 40', '{NAMES[9]}.png: 30 x 32'.",
        f"image cannot be read (1): '{NAMES[10]}.png: ",
        "not a tensor torch.float32 [n 64], one row a POI (2): "
        f"'{NAMES[5]}: torch.float64 [2, 64]', '{NAMES[6]}: torch.float32 [2, 63]'.",
        f"not finite (1): '{NAMES[7]}: 1 of 1 rows'.",
        f"saved by PyTorch (2): '{NAMES[8]}: holds a dict, not a tensor'",
        f"'{NAMES[9]}: damaged, or holds more than a tensor'.",
        f"of vectors lacks (1): '{NAMES[10]}: POI ",
        "not a tensor torch.int64 [2 e], one column an edge (1): "
        f"'{NAMES[11]}: torch.float32 [2, 3]'.",
        "pop1km: not one number of 0 or more; remove files that stand for missing "
        "data, a region without one has no value (2): "
        f"'{NAMES[5]}.txt: 12.5 13.5', '{NAMES[6]}.txt: -99999'.",
    ):
        assert text in told, text
    assert not Path(config.records.dir).parent.joinpath("records").exists()
    assert [path.name for path in Path(config.records.dir).parent.iterdir()] == ["raw"]


@pytest.mark.parametrize("folder", ["sub_shanghai_img", "sub_shanghai_emb", "pop1km"])
def test_another_layout_is_refused_by_what_is_read(config, folder):
    Path(config.released_sample.dir, folder).rename(
        Path(config.released_sample.dir, "elsewhere")
    )
    with pytest.raises(InputError) as error:
        command.import_records(config)
    pattern = folder.replace("shanghai", "*")
    for text in (
        f"config.released_sample.dir {config.released_sample.dir!r}: no folder "
        f"{pattern} with a file",
        "The files that are read are sub_*_img/X.png (the tile), sub_*_emb/X.tensor "
        "(float32 [n 64], a ro",
        "other layouts are not read.",
    ):
        assert text in str(error.value)


def test_two_cities_in_a_folder_are_refused(config):
    Path(config.released_sample.dir, "sub_wuhan_img").mkdir()
    with pytest.raises(
        InputError, match=r"2 folders sub_\*_img, but the sample of one"
    ):
        command.import_records(config)


def test_numbers_of_other_regions_are_refused(config):
    for path in list(Path(config.released_sample.dir, "pop1km").iterdir()):
        path.rename(path.with_name(f"wuhan_{path.name}"))
    message = r"pop1km: no X.txt for regions of the other folders \(12\)"
    with pytest.raises(InputError, match=message):
        command.import_records(config)


def test_settings_are_checked(config):
    message = "config.released_sample.population.kind='share'; allowed: 'count', 'den"
    with pytest.raises(InputError, match=message):
        config.released_sample.population.kind = "share"
    config.city.name = "the city"
    config.records.image_quality = 50
    message = r"(?s)'the city'; allowed.*image_quality is 50, but 'png' keeps"
    with pytest.raises(InputError, match=message):
        command.import_records(config)
    with pytest.raises(
        InputError, match="config.released_sample is None: it names the fold"
    ):
        command.import_records(common.base("released", crs="EPSG:32651"))


def test_a_sample_without_pois_is_refused(config):
    for index in range(len(NAMES)):
        torch.save(torch.zeros(0, 64), _path(config, "vector_dir", index))
        torch.save(torch.tensor([]), _path(config, "edge_dir", index))
    with pytest.raises(InputError, match="vectors: no region has a POI"):
        command.import_records(config)


def test_empty_tensors_of_any_shape_are_empty_sets(config):
    torch.save(torch.tensor([]), _path(config, "vector_dir", 0))
    torch.save(torch.tensor([]), _path(config, "edge_dir", 0))
    source = RecordSource(command.import_records(config))
    assert len(source[0]["poi/category"]) == len(source[0]["poi/edges"]) == 0
    assert source.manifest.report["regions without POI"] == 2


def test_without_pytorch_the_remedy_is_told(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="pip install -r requirements-convert.txt"):
        command.import_records(config)


# ---- once, and again ----


def _count_imports(monkeypatch):
    calls = []
    real = command.import_records

    def counted(config):
        calls.append(config)
        return real(config)

    monkeypatch.setattr(command, "import_records", counted)
    return calls


def test_ensure_imports_once_and_again_for_changes(config, monkeypatch):
    calls = _count_imports(monkeypatch)
    folder = build.ensure(config)
    config.released_sample.population.year = 2021
    build.ensure(config)
    assert len(calls) == 2
    assert schema.Manifest.load(folder).labels["population"].year == 2021
    build.ensure(config)
    assert len(calls) == 2
    label = Path(config.released_sample.dir, "pop1km", f"{NAMES[0]}.txt")
    label.write_text("7.5")
    build.ensure(config)
    assert len(calls) == 3
    assert RecordSource(folder)[0]["label/population"] == 7.5
    shutil.rmtree(config.released_sample.dir)
    build.ensure(config)  # records outlive their sources
    assert len(calls) == 3


def test_records_of_another_maker_are_taken_as_they_are(config, monkeypatch):
    folder = command.import_records(config)
    manifest = schema.Manifest.load(folder)
    dataclasses.replace(manifest, config={}).save(folder)
    calls = _count_imports(monkeypatch)
    config.released_sample.population.year = 2021
    build.ensure(config)
    assert calls == []


def test_a_stopped_import_goes_on_with_its_shards(config, written, monkeypatch):
    begun = []
    whole = shards.write

    def write_shard(shard, encode):
        begun.append(shard.path.name)
        if len(begun) == 3:
            raise KeyboardInterrupt
        whole(shard, encode)

    monkeypatch.setattr(shards, "write", write_shard)
    with pytest.raises(KeyboardInterrupt):
        command.import_records(config)
    assert not Path(config.records.dir).exists()
    folder = command.import_records(config)
    names = [schema.shard_name("released", shard, 3) for shard in range(3)]
    assert begun == [*names, names[2]]
    for name in (*names, schema.CATEGORY_VECTORS_FILE):
        assert (folder / name).read_bytes() == (written[1] / name).read_bytes()
    assert sorted(path.name for path in folder.parent.iterdir()) == ["raw", "records"]


def test_other_makers_leave_the_records_alone(written):
    config, folder = written
    before = (folder / schema.MANIFEST_FILE).read_bytes()
    with pytest.raises(InputError, match="their own vectors and without the place"):
        vector_command.write(config)
    with pytest.raises(InputError, match="nothing to build: import the sample with"):
        build.build(config)
    assert (folder / schema.MANIFEST_FILE).read_bytes() == before


def test_the_command_tells_what_it_found(config, tmp_path):
    path = tmp_path / "sample.py"
    path.write_text(
        "import sys\n"
        f"sys.path[:0] = [{str(Path(__file__).parent)!r}, "
        f"{str(Path(__file__).parents[1])!r}]\n"
        "import released_sample\n"
        "def get_config():\n"
        f"    return released_sample.describe({str(tmp_path / 'raw')!r})\n"
    )
    result = forks.run("-m", "data_prep.import_released", f"--config={path}")
    assert result.returncode == 0, result.stderr
    for text in (
        "distinct vectors: 6",
        "regions without POI: 1",
        "images changed: 1 alpha dropped; 1 grey to RGB; 1 palette to RGB",
        "regions without population: 3",
        "unknown: where POIs stand in their region: offsets are 0",
        "so splits by block are random splits",
        "12 records",
    ):
        assert text in result.stdout, text
