import dataclasses
import logging
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import released_sample
import shapely
from oracles import import_oracle
from PIL import Image
from released_sample import EMPTY, GREY, NAMES, PALETTE, RGBA, SINGLE, SIZE_PX

from data_prep import build
from data_prep.category_embedding import command as vector_command
from data_prep.import_released import categories, command
from data_prep.records import shards
from mmgr_jax.data import folds, pipeline, schema
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.features import features
from mmgr_jax.geo import maps, writers

torch = import_oracle("torch")
ROOT = Path(build.__file__).parents[1]


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
    raw = Path(written[0].released.image_dir).parent
    shutil.copytree(raw, tmp_path / "raw")
    return released_sample.describe(str(tmp_path / "raw"))


def _record(source, index):
    found = source[index]
    assert found["region_id"] == NAMES[index]
    return found


def _path(config, folder, index, suffix=".tensor"):
    return Path(config.released[folder]) / f"{NAMES[index]}{suffix}"


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
        found = categories.Categories()
        rows = vectors[category[order]]
        numbers = np.concatenate([found.ids(rows[:4]), found.ids(rows[4:])])
        table, row = found.ranked()
        assert table[row[numbers]].tobytes() == rows.tobytes()
        tables.append(table)
    once = sorted(vectors[number].tobytes() for number in (1, 4, 5))
    expected = [vectors[3].tobytes(), vectors[0].tobytes(), *once]
    assert [row.tobytes() for row in tables[0]] == expected
    assert tables[0].tobytes() == tables[1].tobytes()
    assert categories.names(3) == ("category_000", "category_001", "category_002")
    assert categories.names(1001)[-1] == "category_1000"
    assert len(set(map(len, categories.names(1001)))) == 1


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
    told = source.manifest.report["labels"]["population"]
    assert told == {"regions without a value": 3, "files of no region": 0}


def test_the_lists_are_kept(source):
    report = source.manifest.report
    assert report["lists"] == dict(train=released_sample.TRAIN, val=released_sample.VAL)
    assert report["names of no region in lists"] == dict(train=0, val=1)
    assert report["regions in several lists"] == []


def _named(config, key):
    return f"released.{key}/{Path(config.released[key]).name}"


def test_the_manifest_says_what_is_unknown(written, source, caplog):
    config, _ = written
    manifest = source.manifest
    assert (manifest.crs, manifest.tile_size_m, manifest.block_size_m) == ("", 0.0, 0.0)
    assert manifest.num_regions == 12 and manifest.shard_lengths == (4, 4, 4)
    counts = [len(vectors) for vectors, _ in released_sample.poi_sets()]
    assert manifest.max_pois == max(counts)
    assert manifest.empty_share == pytest.approx(1 / 12)
    assert manifest.categories == categories.names(6) == manifest.category_parents
    unknown = " ".join(manifest.report["unknown"])
    for text in ("offsets are 0", "each weighs 1", "random splits", "tile is on the"):
        assert text in unknown
    assert set(manifest.sources) == {
        *(_named(config, key) for key in released_sample.FOLDERS),
        "released.labels.population.dir/pop1km",
        "released.lists.train/train.txt",
        "released.lists.val/val.txt",
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


def _centres(config, **changes):
    rows = pd.DataFrame(
        dict(
            region_id=NAMES,
            lon=[121.4 + 0.01 * (index % 4) for index in range(12)],
            lat=[31.2 + 0.01 * (index // 4) for index in range(12)],
        )
        | changes
    )
    path = Path(config.released.image_dir).parent / "centres.csv"
    rows.to_csv(path, index=False)
    config.released.centres = str(path)
    config.released.tile_size_m = 500.0
    return rows


def test_centres_give_outlines_and_blocks(config, tmp_path):
    rows = _centres(config)
    source = RecordSource(command.import_records(config))
    manifest = source.manifest
    assert (manifest.crs, manifest.tile_size_m) == ("EPSG:32651", 500.0)
    assert manifest.block_size_m == 1500.0
    assert len(manifest.report["unknown"]) == 3
    to_metres = pyproj.Transformer.from_crs(4326, 32651, always_xy=True)
    x_m, y_m = to_metres.transform(rows["lon"], rows["lat"])
    blocks = set()
    for index in range(12):
        record = _record(source, index)
        expected = shapely.Point(x_m[index], y_m[index]).buffer(250, cap_style="square")
        outline = shapely.from_wkb(record["geometry"])
        assert outline.equals_exact(expected, 1e-6, normalize=True)
        cell = (x_m[index] // 1500, -(y_m[index] // 1500))
        blocks.add((int(record["block_id"]), cell))
    assert len(blocks) == len({block for block, _ in blocks}) > 2
    regions = features.read_regions(source)
    writers.write_embeddings(
        tmp_path / "embeddings.parquet",
        region_ids=regions.region_ids,
        geometry_wkb=regions.geometry_wkb,
        crs=manifest.crs,
        embeddings=np.zeros((12, 2)),
        columns={},
        metadata={},
    )


def test_centres_from_a_chinese_map_are_moved(config):
    _centres(config)
    config.released.datum = "gcj02"
    records_dir = command.import_records(config)
    moved = shapely.from_wkb(RecordSource(records_dir)[0]["geometry"]).centroid
    to_metres = pyproj.Transformer.from_crs(4326, 32651, always_xy=True)
    distance_m = moved.distance(shapely.Point(to_metres.transform(121.4, 31.2)))
    assert 300 < distance_m < 700


def test_images_are_resized_when_asked(config):
    path = _path(config, "image_dir", 0, ".png")
    released_sample.image(0, 70).save(path)
    config.released.tile_size_px = 16
    source = RecordSource(command.import_records(config))
    assert source.manifest.tile_size_px == 16
    assert source.manifest.report["images changed"]["resized"] == 12
    # The filter is wide enough: each pixel is a mean of those it covers, or nearly so.
    found = source[6]["image"].astype(float)
    whole = np.asarray(released_sample.image(6)).astype(float)
    means = whole.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    correlation = np.corrcoef(found.ravel(), means.ravel())[0, 1]
    assert correlation > 0.85
    assert found.std() < means.std() * 1.05


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
    folder = Path(config.released.labels.population.dir)
    (folder / f"{NAMES[5]}.txt").write_text("12.5 13.5\n")
    (folder / f"{NAMES[6]}.txt").write_text("-99999")
    config.released.lists.val = "nowhere.txt"
    Path(config.released.lists.train).write_text("wuhan_1.png\n")


def test_all_faults_are_told_at_once_by_name(config):
    _spoil_tensors(config)
    _spoil_images(config)
    _spoil_texts(config)
    with pytest.raises(InputError) as error:
        command.import_records(config)
    told = str(error.value)
    for text in (
        "released: 16 problem(s), nothing was built.",
        f"no X.tensor for these regions, which other folders have (1): '{NAMES[0]}'.",
        f"no X.tensor for these regions, which other folders have (1): '{NAMES[1]}'.",
        f"no X.png for these regions, which other folders have (1): '{NAMES[2]}'.",
        f"more than 8 bits a channel; scale all of them alike to 8 bits, such as with "
        "`gdal_translate -ot Byte -scale LOW HIGH 0 255 IN OUT` (2): "
        f"'{NAMES[3]}.png', '{NAMES[4]}.png'.",
        f"config.released.tile_size_px to resize them (1): '{NAMES[8]}.png: 40 px'.",
        f"cut a square out of them (1): '{NAMES[9]}.png: 30 x 32'.",
        f"image_dir: cannot be read (1): '{NAMES[10]}.png: ",
        "not a tensor torch.float32 [n 64], one row a POI (2): "
        f"'{NAMES[5]}.tensor: torch.float64 [2, 64]', "
        f"'{NAMES[6]}.tensor: torch.float32 [2, 63]'.",
        f"not finite (1): '{NAMES[7]}.tensor: 1 of 1 rows'.",
        f"saved by PyTorch (2): '{NAMES[8]}.tensor: holds a dict, not a tensor'",
        f"'{NAMES[9]}.tensor: damaged, or holds more than a tensor'.",
        f"of vectors lacks (1): '{NAMES[10]}.tensor: POI ",
        "not a tensor torch.int64 [2 e], one column an edge (1): "
        f"'{NAMES[11]}.tensor: torch.float32 [2, 3]'.",
        f"population.dir: not one number (1): '{NAMES[5]}.txt: 12.5 13.5'.",
        "population.dir: no density; remove files that stand for missing",
        f"'{NAMES[6]}.txt: -99999'.",
        "lists.val 'nowhere.txt': cannot be read",
        "names none of the 9 regions; its first name is 'wuhan_1', a region is called",
    ):
        assert text in told, text
    assert not Path(config.records.dir).parent.joinpath("records").exists()
    assert [path.name for path in Path(config.records.dir).parent.iterdir()] == ["raw"]


def test_absent_folders_are_named(config):
    config.released.vector_dir = "none"
    config.released.edge_dir = config.released.image_dir
    with pytest.raises(InputError) as error:
        command.import_records(config)
    for text in (
        "config.released.vector_dir 'none': no such folder, or no file X.tensor in it.",
        f"edge_dir '{config.released.image_dir}': no such folder, or no file X.tensor",
    ):
        assert text in str(error.value)


def test_labels_and_settings_are_checked(config):
    config.released.labels.population.kind = "share"
    config.released.tile_size_px = 4
    message = "config.released.labels.population.kind='share'; allowed: 'count', 'den"
    with pytest.raises(InputError, match=message):
        command.import_records(config)
    config.released.labels.population.kind = "density"
    with pytest.raises(InputError, match="tile_size_px is 4; allowed: 8 or more"):
        command.import_records(config)
    config.city.name = "the city"
    config.records.image_quality = 50
    message = r"(?s)'the city'; allowed.*image_quality is 50, but 'png' keeps"
    with pytest.raises(InputError, match=message):
        command.import_records(config)
    config.records.num_shards = 0
    with pytest.raises(InputError, match="config.records.num_shards=0; allowed: great"):
        command.import_records(config)
    config.records.num_shards = 3
    config.released = None
    with pytest.raises(InputError, match="config.released is None: it names the fold"):
        command.import_records(config)


def test_unfit_centres_are_explained(config):
    twice = [*NAMES[:10], NAMES[0], "elsewhere"]
    _centres(config, region_id=twice, lat=[31.2] * 9 + [91.0, 31.2, 31.2])
    config.released.tile_size_m = None
    config.released.datum = "gcj-02"
    with pytest.raises(
        InputError, match="released.datum='gcj-02'; allowed: 'wgs84', '"
    ):
        command.import_records(config)
    config.released.datum = "gcj02"
    config.city.crs = "EPSG:4326"
    with pytest.raises(InputError) as error:
        command.import_records(config)
    for text in (
        f"several rows for one region (1): '{NAMES[0]}'.",
        "no row with lon and lat in degrees for (3): "
        f"'{NAMES[9]}', '{NAMES[10]}', '{NAMES[11]}'.",
        "config.released.tile_size_m is None: with centres the side of a tile",
        "config.city.crs 'EPSG:4326' is in units of degree",
    ):
        assert text in str(error.value)
    Path(config.released.centres).write_text("name,lon,lat\n")
    with pytest.raises(InputError, match="has no column 'region_id'"):
        command.import_records(config)
    config.released.centres = "none.csv"
    with pytest.raises(InputError, match="centres 'none.csv': no such file. Wanted"):
        command.import_records(config)


def test_a_sample_without_pois_is_refused(config):
    for index in range(len(NAMES)):
        torch.save(torch.zeros(0, 64), _path(config, "vector_dir", index))
        torch.save(torch.tensor([]), _path(config, "edge_dir", index))
    with pytest.raises(InputError, match="vector_dir: no region has a POI"):
        command.import_records(config)


def test_empty_tensors_of_any_shape_are_empty_sets(config):
    torch.save(torch.tensor([]), _path(config, "vector_dir", 0))
    torch.save(torch.tensor([]), _path(config, "edge_dir", 0))
    source = RecordSource(command.import_records(config))
    assert len(source[0]["poi/category"]) == len(source[0]["poi/edges"]) == 0
    assert source.manifest.report["regions without POI"] == 2


def test_a_region_in_several_lists_is_told(config, caplog):
    Path(config.released.lists.val).write_text(f"{NAMES[0]}\n{NAMES[8]}\n")
    with caplog.at_level(logging.INFO):
        command.import_records(config)
    assert f"regions in several lists: '{NAMES[0]}'" in caplog.text


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
    config.released.tile_size_m = 1000.0
    build.ensure(config)
    assert len(calls) == 2 and schema.Manifest.load(folder).tile_size_m == 1000.0
    build.ensure(config)
    assert len(calls) == 2
    label = Path(config.released.labels.population.dir) / f"{NAMES[0]}.txt"
    label.write_text("7.5")
    build.ensure(config)
    assert len(calls) == 3
    assert RecordSource(folder)[0]["label/population"] == 7.5
    shutil.rmtree(Path(config.released.image_dir).parent)
    build.ensure(config)  # records outlive their sources
    assert len(calls) == 3


def test_records_of_another_maker_are_taken_as_they_are(config, monkeypatch):
    folder = command.import_records(config)
    manifest = schema.Manifest.load(folder)
    dataclasses.replace(manifest, config={}).save(folder)
    calls = _count_imports(monkeypatch)
    config.released.tile_size_m = 1000.0
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
    with pytest.raises(InputError, match="vectors of their own, and without the place"):
        vector_command.write(config)
    with pytest.raises(InputError, match="nothing to build: take the sample over with"):
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
    result = subprocess.run(
        [sys.executable, "-m", "data_prep.import_released", f"--config={path}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    for text in (
        "distinct vectors: 6",
        "regions without POI: 1",
        "images changed: 1 alpha dropped; 1 grey to RGB; 1 palette to RGB",
        "labels: population: 3 regions without a value; 0 files of no region",
        "lists: 7 train; 4 val",
        "unknown: where POIs stand in their region: offsets are 0",
        "so splits by block are random splits",
        "12 records",
    ):
        assert text in result.stdout, text
