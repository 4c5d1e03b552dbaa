"""What validation finds in records, and what it shows."""

import base64
import dataclasses
import io
import re
import shutil
import xml.etree.ElementTree as ET

import browser as browser_lib
import numpy as np
import pytest
import shapely
import small_city
import small_records
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from data_prep import build
from data_prep.labels import sentences
from data_prep.validate import command, content, page, pictures
from mmgr_jax.data import record_format, schema, tiles
from mmgr_jax.errors import InputError


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
    return small_records.write_records(tmp_path_factory.mktemp("fit"))


def changed(fit, tmp_path, change, rows=(3,)):
    """A copy of the records with some rows of the first shard changed."""
    folder = shutil.copytree(fit, tmp_path / "records")
    manifest = schema.Manifest.load(folder)
    layout = manifest.layout
    path = manifest.shard_paths(folder)[0]
    source = ArrayRecordDataSource([str(path)])
    examples = []
    for index in range(len(source)):
        record = record_format.deserialize(source[index], layout)
        if index in rows:
            change(record)
        record["image"] = tiles.encode(np.asarray(record["image"]), "png")
        examples.append(record_format.serialize(record, layout))
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for example in examples:
        writer.write(example)
    writer.close()
    hashes = ("", *manifest.shard_sha256[1:])  # another maker's, not an edit
    dataclasses.replace(manifest, shard_sha256=hashes).save(folder)
    return folder


def _set(key, value):
    return lambda record: record.__setitem__(key, value)


def test_fit_records_have_no_errors(fit):
    found = content.read(fit)
    assert found.errors == []
    assert len(found.num_pois) == 40 and len(found.samples) == content.SAMPLES
    assert found.category_counts.sum() == found.num_pois.sum() > 100
    assert "40 records read; fit" in page.text(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: r.__setitem__("poi/category", r["poi/category"] + 5),
            "POI category outside the table: r0000c0003",
        ),
        (
            lambda r: r["poi/offset_m"].__setitem__((0, 1), np.nan),
            "POI position that is not finite: r0000c0003",
        ),
        (
            lambda r: r.__setitem__("poi/offset_m", r["poi/offset_m"][1:]),
            "POI categories and positions of different number: r0000c0003",
        ),
        (
            lambda r: r.__setitem__("poi/edges", r["poi/edges"] + 9),
            "edge to a POI that is not there: r0000c0003",
        ),
        (
            lambda r: r.__setitem__("poi/edge_weight", -r["poi/edge_weight"]),
            "edge weight missing, negative or not finite: r0000c0003",
        ),
        (
            _set("geometry", shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]).wkb),
            "outline that is no valid polygon: r0000c0003",
        ),
        (_set("geometry", b"no polygon"), "outline that is no valid polygon: r0000c00"),
        (
            _set("label/function", np.float32([0.5, 0.4, 0.3])),
            "label function: shares do not sum to one: r0000c0003",
        ),
        (
            _set("label/function", np.float32([0.5, np.nan, 0.5])),
            "label function: some shares known, others not: r0000c0003",
        ),
        (
            _set("label/population", np.float32(-1)),
            "label population (count) is negative: r0000c0003",
        ),
        (_set("label/population", np.float32(np.inf)), "label population is infinite"),
        (
            _set("region_id", "r0000c0001"),
            "several records of one region_id: r0000",
        ),
    ],
)
def test_an_unfit_record_is_named(fit, tmp_path, change, message):
    found = content.read(changed(fit, tmp_path, change))
    assert any(message in error for error in found.errors), found.errors


def test_damaged_shards_and_tables_are_named(fit, tmp_path):
    folder = shutil.copytree(fit, tmp_path / "records")
    manifest = schema.Manifest.load(folder)
    first, second, _ = manifest.shard_paths(folder)
    first.unlink()
    hashes = ("", "0" * 64, "")
    dataclasses.replace(manifest, shard_sha256=hashes).save(folder)
    np.save(folder / schema.CATEGORY_VECTORS_FILE, np.full((4, 2), np.nan))
    errors = "\n".join(content.read(folder).errors)
    assert f"{first}: this file is missing" in errors
    assert f"{second}: other bytes than were written" in errors
    assert "4 rows for 5 categories" in errors
    assert "numbers that are not finite" in errors


def test_what_is_allowed_and_odd_is_a_warning(fit, tmp_path):
    def blank(record):
        record["image"] = np.full_like(record["image"], 7)

    found = content.read(changed(fit, tmp_path, blank, rows=(3, 4)))
    assert found.errors == []
    warnings = "\n".join(found.warnings)
    assert "2 tiles are one colour on 98%" in warnings and "r0000c0003" in warnings
    assert "2 tiles are equal to another" in warnings


def test_few_blocks_and_flat_labels_are_told(fit, tmp_path):
    def flat(record):
        record["block_id"] = np.int32(0)
        record["label/population"] = np.float32(3)

    folder = changed(fit, tmp_path, flat, rows=range(40))
    manifest = schema.Manifest.load(folder)
    kept = manifest.shard_lengths[0]
    dataclasses.replace(
        manifest,
        shard_lengths=(kept, 0, 0),
        num_regions=kept,
    ).save(folder)
    warnings = "\n".join(content.read(folder).warnings)
    assert "1 spatial blocks are too few for five folds" in warnings
    assert "label population has one value everywhere" in warnings


def test_the_page_holds_its_pictures(fit):
    text = page.page(content.read(fit))
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", text)
    # Maps of POIs and blocks, a histogram a label, tiles; none wider than a screen.
    assert len(pictures) == 2 + 2 + content.SAMPLES
    for picture in pictures:
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
        assert 200 < image.shape[1] < 700 and np.std(image[..., :3]) > 10
    front = text.partition('class="front"')[2].partition("</section>")[0]
    assert front.count("data:image") == 1 and "40 records read; fit" in front
    assert "cut into 40 regions, each with an image tile of 64 m" in front
    assert "http" not in text.replace("http-equiv", "")


def test_the_page_tells_of_sources_folds_and_parents_what_there_is(fit):
    found = content.read(fit)
    about = dict(bytes=2**20, sha256="0" * 64)
    sources = {f"raw/chips/{i}.tif": about for i in range(6)} | {"raw/pois.csv": about}
    report = {
        "splits": {"regions in each fold": {"block": [7, 5, 4]}},
        "labels": {"population": {"outside every region": 12345.6}},
    }
    manifest = dataclasses.replace(found.manifest, sources=sources, report=report)
    text = page.page(dataclasses.replace(found, manifest=manifest))
    text = text.replace(' class="words"', "").replace(' scope="row"', "")
    assert "<td>raw/chips/*.tif</td><td>6 files, 6.0 MiB</td>" in text
    assert "<td>raw/pois.csv</td><td>1.0 MiB, sha256 000000000000</td>" in text
    assert "<th>folds, block split</th><td>7, 5, 4 regions</td>" in text
    assert "<td>outside every region: 12,345.6</td>" in text
    assert "<th>parent</th>" not in text  # each category is its own
    parents = ("food",) * len(manifest.categories)
    manifest = dataclasses.replace(manifest, category_parents=parents)
    text = page.page(dataclasses.replace(found, manifest=manifest))
    text = text.replace(' class="words"', "")
    assert "<th>parent</th>" in text and "<td>food</td>" in text


def test_what_a_city_calls_things_stays_text(fit, tmp_path):
    found = content.read(fit)
    attack = "\"'><script>alert(1)</script> $\\frac{$ \x1b[2J\nerror: none"
    manifest = found.manifest
    named = dataclasses.replace(
        manifest,
        city=f"city{attack}",
        crs=f"crs{attack}",
        categories=tuple(f"{attack}{name}" for name in manifest.categories),
        sources={f"raw/{attack}": dict(bytes=1, sha256=f"sha{attack}")},
        labels={
            f"{name}{attack}": dataclasses.replace(
                of,
                unit=f"unit{attack}",
                source=f"source{attack}",
                classes=tuple(f"{attack}{one}" for one in of.classes),
            )
            for name, of in manifest.labels.items()
        },
    )
    changed = dataclasses.replace(
        found,
        manifest=named,
        labels={f"{name}{attack}": of for name, of in found.labels.items()},
        samples=[
            dataclasses.replace(of, region_id=f"id{attack}") for of in found.samples
        ],
        errors=[f"error{attack}"],
        warnings=[f"warning{attack}"],
    )
    made = page.page(changed)
    assert "<script" not in made and "\x1b" not in made
    tree = ET.fromstring(made[made.index("<body>") : made.rindex("</html>")])
    allowed = set(
        "body nav main section div a strong figure figcaption h1 h2 p ul li table "
        "thead tbody tr th td img".split()
    )
    assert {item.tag for item in tree.iter()} == allowed
    texts = "\n".join(item.text or "" for item in tree.iter())
    for begins in ("city", "crs", "unit", "source", "error", "warning"):
        assert begins + attack.replace("\x1b", "\\x1b") in texts, begins
    told = page.text(changed)
    assert "\x1b" not in told
    lines = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1  # a name forges no line


def test_all_tiles_of_a_page_are_drawn_at_one_scale(fit):
    found = content.read(fit)
    size_m = found.manifest.tile_size_m
    here = [np.zeros((0, 2), np.float32), np.float32([[0.0, -2 * size_m]])]
    samples = [
        dataclasses.replace(found.samples[0], offset_m=offset_m) for offset_m in here
    ]
    assert pictures._reach_m(samples, size_m) == pytest.approx(2.1 * size_m)
    assert pictures._reach_m(samples[:1], size_m) == size_m / 2
    inside = [dataclasses.replace(samples[0], offset_m=here[1] / 4.1)]
    assert pictures._reach_m(inside, size_m) == size_m / 2


def test_a_label_s_source_is_told_in_words():
    report = {"regions without a value": 0, "mean covered share": 1, "total": 665578.4}
    assert sentences.in_words(report) == (
        "every region has a value; the source covers 100.0% of a region's area on "
        "average; total: 665,578"
    )
    assert sentences.in_words({"regions without a value": 1200}) == (
        "1,200 regions have no value"
    )


@pytest.mark.parametrize(
    ("size", "scheme"),
    [  # by default each size and each scheme once
        ("desktop", "light"),
        ("phone", "dark"),
        pytest.param("desktop", "dark", marks=pytest.mark.slow),
        pytest.param("phone", "light", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing_serious_on_the_page(browser, written, size, scheme):
    shown = browser_lib.opened(browser, written, size=size, scheme=scheme)
    assert browser_lib.severe(shown) == {}
    width, _ = browser_lib.SIZES[size]
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    shown.context.close()


@pytest.fixture(scope="module")
def written(fit, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "validation.html"
    path.write_text(page.page(content.read(fit)), encoding="utf-8")
    return path


@pytest.fixture
def city(tmp_path):
    return small_city.write(tmp_path)


def test_sources_are_checked_before_there_are_records(city, capsys):
    assert command.validate(city) is None
    assert "build them with `python -m data_prep.build" in capsys.readouterr().out
    city.pois.category_column = "kind"
    with pytest.raises(InputError, match="kind"):
        command.validate(city)


def test_records_are_checked_and_shown(city, capsys):
    folder = build.build(city)
    path = command.validate(city)
    assert path == folder.with_name("validation.html") and path.exists()
    assert "9 records read; fit" in capsys.readouterr().out


def test_unfit_records_fail_with_their_number(city, tmp_path):
    folder = build.build(city)
    np.save(folder / schema.CATEGORY_VECTORS_FILE, np.zeros((1, 2), np.float32))
    with pytest.raises(InputError, match=r"2 error\(s\), listed above"):
        command.validate(city, str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").exists()
