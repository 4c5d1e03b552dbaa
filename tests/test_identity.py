"""Changes between two starts: refused by name, or allowed and kept in the history."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from small_records import CATEGORIES, write_records

from mmgr_jax.data import contents, record_format, schema, seals
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.store import arrays, checkpoint, identity
from mmgr_jax.train import agreement, experiment, loop

STEP = 4


def metadata_of(config, *, total_steps=STEP, table=None):
    """What a run says of itself, without building it."""
    source = RecordSource(config.records.dir)
    return checkpoint.Metadata(
        config=config.to_dict(),
        categories=source.manifest.categories,
        category_dim=16,
        identity=identity.of_run(source.identity, table=table, total_steps=total_steps),
    )


def as_stored(metadata):
    """The same as a checkpoint would bring it back."""
    fields = arrays.jsonable(dataclasses.asdict(metadata))
    fields["categories"] = tuple(fields["categories"])
    fields["history"] = tuple(fields["history"])
    fields["cities"] = tuple(fields["cities"])
    fields["parts"] = ()
    return checkpoint.Metadata(**fields)


def change(config, key, value):
    *sections, last = key.split(".")
    node = config
    for section in sections:
        node = node[section]
    with node.unlocked():
        node[last] = value


def restart(before, after, **options):
    """The checks of a start with `after` in the workdir that `before` trained in."""
    kept = as_stored(before)
    identity.check_restart(after, kept, Path("run/checkpoints/4"), **options)
    return identity.continued(after, kept, STEP, **options)


REFUSED = [
    ("seed", 1),
    ("data.batch_size", 8),
    ("data.max_pois", 3),
    ("data.short_batch", "drop"),
    ("corpus.evenness", 0.5),
    ("corpus.categories", "by_name"),
    ("corpus.batches", "city"),
    ("augment.size_px", 24),
    ("augment.crop_area", (0.9, 1.0)),
    ("augment.hue", 0.3),
    ("augment.quarter_turns", False),
    ("model.dtype", "bfloat16"),
    ("model.batch_norm", "local"),
    ("model.batch_statistics", "joint"),
    ("model.projection_dim", 64),
    ("model.poi_encoder.vectors", "frozen"),
    ("model.image_encoder.train", "last:1"),
    ("model.image_encoder.path", "features.npz"),
    ("init.checkpoint", "runs/other"),
    ("loss.temperature", 0.05),
    ("loss.image_weight", 1.0),
    ("loss.symmetric", False),
    ("loss.empty_sets", "repel"),
    ("loss.negatives", "city"),
    ("loss.matmul_dtype", "bfloat16"),
    ("optim.name", "sgd"),
    ("optim.learning_rate", 0.5),
    ("optim.schedule", "constant"),
    ("optim.warmup", "1 steps"),
    ("optim.weight_decay", 0.1),
    ("optim.batch_scaling", "sqrt"),
    ("train.gradient_dtype", "bfloat16"),
    ("train.total", "6 steps"),  # of a cosine
]


@pytest.mark.parametrize(("key", "value"), REFUSED, ids=[key for key, _ in REFUSED])
def test_what_decides_weights_is_refused_with_both_values(small_config, key, value):
    before = metadata_of(small_config)
    was = as_stored(before).config
    for part in key.split("."):
        was = was.get(part)
    change(small_config, key, value)
    total = 6 if key == "train.total" else STEP
    with pytest.raises(InputError) as error:
        restart(before, metadata_of(small_config, total_steps=total))
    told = str(error.value)
    now = list(value) if isinstance(value, tuple) else value
    assert f"{key}: {was!r} in the checkpoint, {now!r} here" in told
    assert "\n" not in told and "workdir" in told


def test_a_setting_that_is_gone_counts_where_it_said_something_else(small_config):
    after = metadata_of(small_config)
    before = as_stored(after)
    before.config["optim"]["decay_factor"] = 0.1
    assert restart(before, after)[1] == {}
    before.config["optim"]["decay_factor"] = 0.5
    with pytest.raises(InputError, match="optim.decay_factor: 0.5 in the checkpoint"):
        restart(before, after)


ALLOWED = [
    ("data.num_threads", 5),
    ("data.cache_mib", 0),
    ("data.device_resident", "off"),
    ("corpus.unknown_categories", "drop"),
    ("loss.implementation", "dense"),
    ("loss.tile", 8),
    ("train.microbatch_size", 8),
    ("train.log_every", "3 steps"),
    ("train.save_every", "3 steps"),
    ("train.evaluate_every", "3 steps"),
    ("train.keep", 5),
    ("train.total", "8 steps"),  # of a constant rate
]


@pytest.mark.parametrize(("key", "value"), ALLOWED, ids=[key for key, _ in ALLOWED])
def test_what_decides_none_is_allowed_and_kept(small_config, key, value):
    small_config.optim.schedule, small_config.optim.warmup = "constant", "0 steps"
    before = metadata_of(small_config)
    was = before.config[key.split(".")[0]][key.split(".")[1]]
    change(small_config, key, value)
    total = 8 if key == "train.total" else STEP
    after, found = restart(before, metadata_of(small_config, total_steps=total))
    assert found == {key: (was, value)}
    assert after.history[-1]["changes"] == {key: [was, value]}
    assert after.history[-1]["step"] == STEP


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("workdir", "elsewhere"),
        ("readout.image", "stages"),
        ("eval.seed", 3),
        ("embed.features", "both"),
        ("mesh.data", 2),
        ("corpus.records", ("elsewhere",)),  # cities are told one by one
        ("corpus.weights", (2.0,)),
        ("after_training", ()),
    ],
)
def test_what_training_does_not_read_is_no_change(small_config, key, value):
    before = metadata_of(small_config)
    change(small_config, key, value)
    assert restart(before, metadata_of(small_config))[1] == {}


def test_every_setting_of_training_is_decided(small_config):
    """A new setting is refused until somebody says why it is free."""
    config = small_config.to_dict()
    flat = identity.flat({name: config[name] for name in identity.TRAINING})
    decided = {key for key, _ in REFUSED} | {key for key, _ in ALLOWED}
    assert set(identity.FREE) <= decided and set(identity.FREE) <= set(flat)
    assert {key.split(".")[0] for key in flat} == {key.split(".")[0] for key in decided}


def test_a_checkpoint_from_before_there_were_corpora_goes_on(small_config):
    after = metadata_of(small_config)
    before = as_stored(after)
    del before.config["corpus"]
    assert restart(before, after)[1] == {}


def test_another_length_in_other_words_is_none(small_config):
    small_config.train.total = "2 epochs"
    before = metadata_of(small_config)
    small_config.train.total = "4 steps"
    assert restart(before, metadata_of(small_config))[1] == {}


def test_a_rate_by_percent_hangs_on_the_length(small_config):
    small_config.optim.schedule, small_config.optim.warmup = "constant", "10 percent"
    before = metadata_of(small_config)
    small_config.train.total = "8 steps"
    with pytest.raises(InputError, match="optim.warmup='10 percent' the learning rate"):
        restart(before, metadata_of(small_config, total_steps=8))


def test_weights_to_begin_with_count_by_content(small_config):
    small_config.init.checkpoint = "runs/first"
    ours = metadata_of(small_config)
    begun, _ = identity.continued(ours, None, 0, began_with="abc")
    small_config.init.checkpoint = "/moved/first"
    after = metadata_of(small_config)
    restart(begun, after, weights_of={"/moved/first": "abc"}.get)
    with pytest.raises(InputError, match=r"init\.checkpoint: 'runs/first' in the chec"):
        restart(begun, after, weights_of={"/moved/first": "other"}.get)
    with pytest.raises(InputError, match=r"init\.checkpoint"):
        restart(begun, after)  # it is gone


def test_a_table_of_features_counts_by_content(small_config):
    small_config.model.image_encoder = dict(name="table", path="a.npz", train="none")
    rows = np.arange(8.0).reshape(4, 2)
    before = metadata_of(small_config, table=rows)
    small_config.model.image_encoder.path = "moved/b.npz"
    restart(before, metadata_of(small_config, table=rows))
    with pytest.raises(InputError, match=r"model\.image_encoder\.path"):
        restart(before, metadata_of(small_config, table=rows + 1))


# ---- records ----


def rebuilt(records_dir, tmp_path, edit=None, **options):
    """Records as another build would have written them."""
    folder = tmp_path / "rebuilt"
    folder.mkdir()
    write_records(folder, **options)
    if edit:
        manifest = schema.Manifest.load(folder)
        examples = []
        for path in manifest.shard_paths(folder):
            source = ArrayRecordDataSource([str(path)])
            examples.append([source[index] for index in range(len(source))])
        flat = edit([e for of in examples for e in of], manifest.layout)
        for path, of in zip(manifest.shard_paths(folder), examples, strict=True):
            writer = ArrayRecordWriter(str(path), "group_size:1")
            for _ in of:
                writer.write(flat.pop(0))
            writer.close()
        whole = [
            ArrayRecordDataSource([str(path)]) for path in manifest.shard_paths(folder)
        ]
        every = [of[index] for of in whole for index in range(len(of))]
        numbers = [seals.input_number(of, place) for place, of in enumerate(every)]
        dataclasses.replace(
            manifest,
            shard_sha256=("",) * len(examples),
            inputs_sha256=seals.sum_of_inputs(numbers),
        ).save(folder)
    return folder


def _changed(field, value):
    def edit(examples, layout):
        record = record_format.deserialize(examples[3], layout, image=False)
        raw = record_format.Example.FromString(examples[3])
        record["image"] = raw.features.feature["image"].bytes_list.value[0]
        record[field] = value(record[field])
        return [*examples[:3], record_format.serialize(record, layout), *examples[4:]]

    return edit


def _swapped(examples, _):
    return [examples[1], examples[0], *examples[2:]]


def _tile(image):
    image = np.array(record_format.tiles.decode(image, "png", 32))
    image[0, 0] += 1
    return record_format.tiles.encode(image, "png")


@pytest.mark.parametrize(
    ("edit", "options"),
    [
        (_changed("image", _tile), {}),
        (_changed("poi/category", lambda ids: (ids + 1) % len(CATEGORIES)), {}),
        (_changed("poi/offset_m", lambda offsets: offsets + 1), {}),
        (_swapped, {}),
        (None, {"rows": 6}),
    ],
    ids=["tile", "category ids", "places of POIs", "order", "more regions"],
)
def test_other_tiles_or_pois_are_refused(
    small_config, records_dir, tmp_path, edit, options
):
    before = metadata_of(small_config)
    small_config.records.dir = str(rebuilt(records_dir, tmp_path, edit, **options))
    with pytest.raises(
        InputError, match=r"records\.inputs: .*tiles, POIs or the order"
    ):
        restart(before, metadata_of(small_config))


def test_other_shards_and_labels_of_the_same_regions_go_on(
    small_config, records_dir, tmp_path
):
    before = metadata_of(small_config)
    folder = rebuilt(
        records_dir,
        tmp_path,
        _changed("label/population", lambda value: value + 1),
        num_shards=5,
    )
    manifest = schema.Manifest.load(folder)
    labels = dict(manifest.labels)
    labels["population"] = dataclasses.replace(labels["population"], unit="thousands")
    dataclasses.replace(manifest, labels=labels).save(folder)
    small_config.records.dir = str(folder)
    after, found = restart(before, metadata_of(small_config))
    assert list(found) == ["records.labels"]
    assert "records.labels" in after.history[-1]["changes"]


def test_moved_records_are_the_same(small_config, records_dir, tmp_path):
    before = metadata_of(small_config)
    moved = tmp_path / "moved"
    shutil.copytree(records_dir, moved)
    small_config.records.dir = str(moved)
    assert restart(before, metadata_of(small_config))[1] == {}


def test_other_vectors_and_another_order_of_categories_are_refused(
    small_config, records_dir, tmp_path
):
    before = metadata_of(small_config)
    folder = tmp_path / "copy"
    shutil.copytree(records_dir, folder)
    small_config.records.dir = str(folder)
    manifest = schema.Manifest.load(folder)
    np.save(folder / schema.CATEGORY_VECTORS_FILE, np.zeros((5, 16), np.float32))
    manifest.save(folder, [schema.CATEGORY_VECTORS_FILE])
    with pytest.raises(
        InputError, match=r"records\.vectors: .*category vectors differ"
    ):
        restart(before, metadata_of(small_config))
    manifest = schema.Manifest.load(folder)
    order = (*CATEGORIES[1::-1], *CATEGORIES[2:])
    dataclasses.replace(manifest, categories=order).save(folder)
    with pytest.raises(
        InputError,
        match="'bank as number 0' in the checkpoint, 'cafe as number 0' here",
    ):
        restart(before, metadata_of(small_config))


EDITS = {
    "num_regions": lambda of: of.update(num_regions=39),
    "labels": lambda of: of["labels"]["population"].update(unit="thousand persons"),
    "labels ": lambda of: of["labels"]["function"].update(classes=["a", "b", "c"]),
    "categories": lambda of: of["categories"].reverse(),
    "crs": lambda of: of.update(crs="EPSG:32650"),
    "tile_size_m": lambda of: of.update(tile_size_m=32.0),
    "shard_sha256": lambda of: of["shard_sha256"].reverse(),
    "inputs_sha256": lambda of: of.update(inputs_sha256="0" * 64),
    "content": lambda of: of.pop("content"),
    "content ": lambda of: of.update(content={}),
}


@pytest.mark.parametrize("field", EDITS)
def test_an_edited_manifest_is_refused_by_its_field(records_dir, tmp_path, field):
    folder = shutil.copytree(records_dir, tmp_path / "records")
    path = folder / schema.MANIFEST_FILE
    fields = json.loads(path.read_text())
    EDITS[field](fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(
        InputError, match=f"manifest.json: {field.strip()} edited since"
    ):
        RecordSource(folder)


def test_an_edit_is_seen_whose_size_and_time_are_put_back(records_dir, tmp_path):
    """And a file that is as it was is not read again."""
    folder = shutil.copytree(records_dir, tmp_path / "records")
    RecordSource(folder)
    path = schema.Manifest.load(folder).shard_paths(folder)[1]
    status = path.stat()
    whole = bytearray(path.read_bytes())
    whole[-200] ^= 1
    path.write_bytes(whole)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    with pytest.raises(InputError, match=f"{path.name}: other bytes than were written"):
        RecordSource(folder)
    whole[-200] ^= 1
    path.write_bytes(whole)
    RecordSource(folder)


def test_files_that_were_not_touched_are_read_once(records_dir, tmp_path, monkeypatch):
    folder = shutil.copytree(records_dir, tmp_path / "records")
    monkeypatch.setattr(contents, "_FINE_NS", 0)
    RecordSource(folder)
    read = []
    whole = contents.of_file
    monkeypatch.setattr(
        contents, "of_file", lambda path: read.append(path) or whole(path)
    )
    RecordSource(folder)
    assert read == []
    (folder / contents.STAMPS_FILE).write_text("{torn")
    RecordSource(folder)
    assert len(read) == 4  # three shards and the vectors


def test_records_of_before_keep_working(small_config, records_dir, tmp_path):
    """Those without hashes; a checkpoint of before goes on with them as they are."""
    folder = shutil.copytree(records_dir, tmp_path / "records")
    path = folder / schema.MANIFEST_FILE
    fields = json.loads(path.read_text())
    del fields["content"], fields["inputs_sha256"]
    path.write_text(json.dumps(fields))
    small_config.records.dir = str(folder)
    ours = metadata_of(small_config)
    before = dataclasses.replace(ours, identity={}, history=())
    after, found = restart(before, ours)
    assert found == {} and after.history[-1]["step"] == STEP
    # From then on they are told apart, by their shards.
    small_config.records.dir = str(rebuilt(records_dir, tmp_path, _swapped))
    with pytest.raises(InputError, match=r"records\.regions: .*the shards differ"):
        restart(after, metadata_of(small_config))


RECORDS_CHANGED = {
    "a tile": (_changed("image", _tile), {}),
    "categories of POIs": (
        _changed("poi/category", lambda ids: (ids + 1) % len(CATEGORIES)), {},
    ),
    "places of POIs": (_changed("poi/offset_m", lambda offsets: offsets + 1), {}),
    "order of regions": (_swapped, {}),
    "more regions": (None, {"rows": 6}),
    "a label": (_changed("label/population", lambda value: value + 1), {}),
    "shards": (None, {"num_shards": 5}),
}  # fmt: skip


def test_no_change_between_two_starts_is_silent(small_config, records_dir, tmp_path):
    """All of the above at once and counted, for docs/notes/robustness.md."""
    free = small_config.copy_and_resolve_references()
    free.optim.schedule, free.optim.warmup = "constant", "0 steps"
    counts = {"refused by key": 0, "written into the history": 0}
    cases = [(small_config, *pair) for pair in REFUSED]
    cases += [(free, *pair) for pair in ALLOWED]
    cases += [(small_config, "records.dir", name) for name in RECORDS_CHANGED]
    for base, key, value in cases:
        config = base.copy_and_resolve_references()
        before, total = metadata_of(config), STEP
        if key == "records.dir":
            place = tmp_path / value
            place.mkdir()
            edit, options = RECORDS_CHANGED[value]
            value = str(rebuilt(records_dir, place, edit, **options))
        elif key == "train.total":
            total = int(value.split()[0])
        change(config, key, value)
        try:
            after, found = restart(before, metadata_of(config, total_steps=total))
        except InputError as error:
            assert key in str(error) or "records." in str(error)
            counts["refused by key"] += 1
            continue
        if found:
            assert after.history[-1]["changes"].keys() == found.keys()
            counts["written into the history"] += 1
        else:  # what training does not read, or the same in another order of files
            assert value.endswith(("a label/rebuilt", "shards/rebuilt")), (key, value)
    print(len(cases), "changes:", counts)
    refused, told = len(REFUSED) + 5, len(ALLOWED)
    assert counts == {"refused by key": refused, "written into the history": told}
    assert refused + told >= 30


# ---- as a whole ----


def test_a_run_goes_on_where_it_was_moved_and_tells_its_history(
    small_config, tmp_path, records_dir, caplog
):
    config = small_config
    config.optim.schedule, config.optim.warmup = "constant", "0 steps"
    config.train.total = "1 steps"
    loop.train(config)
    moved = shutil.move(config.workdir, tmp_path / "moved")
    copied = shutil.copytree(records_dir, tmp_path / "copied")
    config.workdir, config.records.dir = str(moved), str(copied)
    config.train.total = "2 steps"
    with caplog.at_level("INFO"):
        loop.train(config)
    assert "from step 1 on train.total is '2 steps'; it was '1 steps'" in caplog.text
    kept = checkpoint.load_metadata(checkpoint.latest(moved))
    assert [entry["step"] for entry in kept.history] == [0, 1]
    assert kept.history[1]["changes"] == {"train.total": ["1 steps", "2 steps"]}
    config.loss.temperature = 0.05
    with pytest.raises(
        InputError, match=r"loss\.temperature: 0\.2 in the ch.*0\.05 here"
    ):
        loop.train(config)
    assert checkpoint.latest(moved).name == "2"


def test_processes_of_different_settings_are_told_what_differs(small_config):
    said = []
    for rate in (0.1, 0.1, 0.5):
        small_config.optim.learning_rate = rate
        sections = {n: small_config.to_dict()[n] for n in identity.TRAINING}
        said.append(json.dumps(identity.flat(sections)))
    assert agreement._judge(said[:2]) == ""
    assert (
        "optim.learning_rate: 0.1 in process 0, 0.5 in process 2"
        in agreement._judge(said)
    )


def test_experiment_says_what_it_is_made_of(small_config):
    run = experiment.build(small_config)
    assert run.metadata.identity["records"] == dict(run.source.identity)
    assert run.metadata.identity["total_steps"] == run.total_steps == STEP


TWO = """
import sys
from small_records import config_of
from mmgr_jax.train import agreement
from mmgr_jax.devices import distributed
from mmgr_jax.devices.settings import DistributedSettings
index, port, records = int(sys.argv[1]), sys.argv[2], sys.argv[3]
config = config_of(records, __import__("pathlib").Path("."))
config.data.num_threads = 2 + index  # of each process
if sys.argv[4] == "apart" and index:
    config.optim.learning_rate = 0.5
given = dict(coordinator=f"127.0.0.1:{port}", num_processes=2, process_id=index)
with distributed.session(DistributedSettings(mode="on", **given)):
    agreement.agree(config.to_dict())
    print("agreed")
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["together", "apart"])
def test_two_processes_of_different_settings_do_not_train(records_dir, how):
    root = Path(__file__).parents[1]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'tests'}"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(index), port, str(records_dir), how],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in (0, 1)
    ]
    ends = [
        (*process.communicate(timeout=300), process.returncode) for process in started
    ]
    for out, told, code in ends:
        if how == "together":
            assert code == 0 and "agreed" in out, told
        else:
            assert code == 2 and "agreed" not in out
            assert "optim.learning_rate: 0.002 in process 0, 0.5 in process 1" in told
