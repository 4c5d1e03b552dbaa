"""One model of several cities: trained, continued, refused, and used on one of them."""

import dataclasses
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import chex
import forks
import numpy as np
import pytest
import small_records

import mmgr_jax
from mmgr_jax import settings
from mmgr_jax.data import opening, pipeline, schema
from mmgr_jax.data.settings import CorpusSettings, DataSettings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import inference, provenance, readouts
from mmgr_jax.evaluation.while_training import Evaluator
from mmgr_jax.store import checkpoint
from mmgr_jax.train import experiment, loop

ROOT = Path(__file__).parents[1]
OTHERS = ("bakery", "cafe", "shop", "park", "pier")  # three of them shared
ORIGINS = {
    "alba": {
        "imagery": dict(
            source="Survey of Alba", licence="CC BY 4.0", year=2021, sensor="UltraCam"
        ),
        "pois": {"path": "raw/alba.osm.pbf"},
    },
    "bree": {
        "imagery": dict(source="Bree | Sky", licence="CC0-1.0", year=None),
        "pois": {"path": "raw/pois.csv", "source": "Bree Maps", "licence": "BM-7"},
    },
}
LABELS = small_records.LABELS | {
    "population": schema.Label("count", "persons", (), 2020, "Census", "ODbL")
}


@pytest.fixture(scope="module")
def cities(tmp_path_factory):
    """A folder with two cities, whose POI categories have other numbers and names."""
    root = tmp_path_factory.mktemp("cities")
    lists = {"alba": small_records.CATEGORIES, "bree": OTHERS}
    for seed, (name, categories) in enumerate(lists.items()):
        folder = root / name / "records"
        folder.mkdir(parents=True)
        options = dict(city=name, categories=categories, rows=4, columns=6)
        small_records.write_records(folder, seed=seed, labels=LABELS, **options)
        manifest = schema.Manifest.load(folder)
        dataclasses.replace(manifest, config=ORIGINS[name]).save(folder)
    return root


def _config(cities, folder, city="alba", steps=4):
    config = small_records.config_of(cities / city / "records", folder)
    config.corpus.records = (str(cities / "*/records"),)
    config.corpus.categories = "by_name"
    config.data.batch_size = 8
    config.train.total = f"{steps} steps"
    config.optim.schedule, config.optim.warmup = "constant", "0 steps"
    config.train.evaluate_every = "2 steps"
    return config


@pytest.fixture(scope="module")
def trained(cities, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    config = _config(cities, folder)
    loop.train(config, Evaluator(config))
    return folder


def test_a_checkpoint_carries_cities_and_joined_categories(cities, trained):
    stored = checkpoint.load_metadata(checkpoint.latest(trained / "run"))
    assert stored.categories == (*small_records.CATEGORIES, "bakery", "pier")
    assert stored.identity["corpus"]["weights"] == {"alba": 1.0, "bree": 1.0}
    for name, sha256 in stored.identity["corpus"]["cities"].items():
        own = RecordSource(cities / name / "records").identity
        assert sha256 == own["inputs"]
    rows = (trained / "run/metrics.jsonl").read_text().splitlines()
    assert any("validation" in key for row in rows for key in json.loads(row))


def test_a_card_names_both_cities_their_sources_and_what_these_ask_for(
    trained, tmp_path
):
    saved = mmgr_jax.load(trained / "run").save(tmp_path / "saved", licence="CC-BY-4.0")
    text = (saved / "README.md").read_text()

    def section(title):
        (found,) = re.findall(rf"## {title}\n(.*?)(?=\n## |\Z)", text, re.DOTALL)
        return found

    assert text.startswith("---\nlicense: cc-by-4.0\nlibrary_name: mmgr-jax\n")
    assert "trained on alba, bree:" in text
    for name in ("alba", "bree"):
        row = f"| {name} | 24 | EPSG:32651 | 32 px, 64 m | 2 | 1 |"
        assert row in section("What it was trained on")
    for line in (
        "| alba | imagery, UltraCam | Survey of Alba | CC BY 4.0 | 2021 |",
        "| alba | POIs | OpenStreetMap contributors | ODbL-1.0 | not recorded |",
        r"| bree | imagery, sensor not recorded | Bree \| Sky | CC0-1.0 | not recorded",
        "| bree | POIs | Bree Maps | BM-7 | not recorded |",
        "| bree | label population (persons) | Census | ODbL | 2020 |",
        "| bree | label function (1) | not recorded | not recorded | not recorded |",
    ):
        assert line in section("Sources"), line
    assert "7: bank, cafe, park, school, shop, bakery, pier." in text
    assert "Steps: 4 of 4" in section("How it was trained")
    assert "| `data.batch_size` | 8 |" in text and "| `loss.temperature` |" in text
    assert "/records" not in text  # no place of a machine
    assert "Of these weights: not recorded." in section("Evaluation")
    asked = section("Obligations of the sources' licences")
    assert re.search("ODbL-1.0, .*POIs of alba.*© OpenStreetMap contributors", asked)
    assert re.search("CC BY 4.0, Survey of Alba .imagery of alba.: credit", asked)
    assert "BM-7, Bree Maps (POIs of bree): read its terms" in asked
    assert "licence not recorded, label function of alba" in asked


def test_a_run_tells_its_cities(cities, tmp_path, caplog):
    caplog.set_level("INFO")
    config = _config(cities, tmp_path, steps=1)
    config.corpus.evenness, config.corpus.weights = 1.0, (2.0,)
    loop.train(config)
    assert "alba, bree: 48 regions, batches of 8" in caplog.text
    assert "corpus of 2 cities, 48 regions, batches of all cities:" in caplog.text
    assert (
        "alba: 24 regions, 50.0% of all regions shown, each shown 0.2 times"
        in caplog.text
    )


@pytest.mark.slow
def test_going_on_equals_never_having_stopped(cities, trained, tmp_path):
    loop.train(_config(cities, tmp_path, steps=2))
    loop.train(_config(cities, tmp_path, steps=4))
    found = [
        checkpoint.load_arrays(checkpoint.latest(folder / "run"))
        for folder in (trained, tmp_path)
    ]
    chex.assert_trees_all_equal(*found)


def test_another_corpus_is_refused_by_key(cities, trained, tmp_path):
    def refused(match, **changes):
        config = _config(cities, trained, steps=6)
        config.corpus.update(changes)
        run = experiment.build(config)
        bundle = checkpoint.latest(run.workdir)
        stored = checkpoint.load_metadata(bundle)
        with pytest.raises(InputError, match=match) as caught:
            run.check(stored, bundle)
        return str(caught.value)

    refused("corpus.evenness: 0.0 in the checkpoint, 0.5 here", evenness=0.5)
    refused("corpus.batches: 'mixed' in the checkpoint", batches="city")
    names = tuple(str(cities / name / "records") for name in ("alba", "bree"))
    weights = "corpus.weights.bree: 1.0 in the checkpoint, 2.0 here"
    text = refused(weights, records=names, weights=(1.0, 2.0))
    assert "corpus.weights.alba" not in text and "corpus.records" not in text

    (tmp_path / "cori").mkdir()
    more = small_records.write_records(tmp_path / "cori", city="cori")
    text = refused(
        r"corpus.cities.cori: 'no such city' in the checkpoint, '\w{12}' here",
        records=(str(cities / "*/records"), str(more)),
    )
    assert "records.inputs" not in text and "alba" not in text
    refused(
        "corpus.cities.bree: '.*' in the checkpoint, 'no such city' here",
        records=names[:1],
    )
    # Other words for the same cities change nothing.
    config = _config(cities, trained, steps=6)
    config.corpus.records = names[::-1]
    run, bundle = experiment.build(config), checkpoint.latest(trained / "run")
    run.check(checkpoint.load_metadata(bundle), bundle)


def test_each_city_is_encoded_by_the_names_of_its_categories(cities, trained, tmp_path):
    bundle = checkpoint.latest(trained / "run")
    config = _config(cities, tmp_path, "bree")
    joined = opening.open_training(
        settings.read(CorpusSettings, config.corpus, "corpus"), "", DataSettings()
    )
    encoder = inference.load_encoder(config, bundle, joined.cities[1])
    assert encoder.categories == joined.manifest.categories
    own = readouts.encoded(config, encoder, joined.cities[1])
    batches = list(pipeline.epoch_batches(joined, batch_size=8, num_threads=2))
    for kind in ("poi", "image"):
        whole = [encoder.encode(batch)[kind] for batch in batches]
        joint = [
            np.concatenate([part[name] for name, _ in own[kind].groups], axis=1)
            for part in whole
        ]
        np.testing.assert_allclose(
            own[kind].values, np.concatenate(joint)[24:], rtol=1e-5, atol=1e-6
        )
    city = readouts.EvaluatedCity.of(joined.cities[1])
    told = provenance.told_apart(_config(cities, tmp_path, "bree"), city, bundle)
    assert not [sentence for sentence in told if "on other records" in sentence]
    assert not [sentence for sentence in told if "cities" in sentence]


def test_categories_that_nobody_taught_are_refused_or_left_out(
    cities, trained, tmp_path, caplog
):
    bundle = checkpoint.latest(trained / "run")
    (tmp_path / "cori").mkdir()
    names = ("cafe", "zoo", "park", "moat", "shop")
    folder = small_records.write_records(
        tmp_path / "cori", city="cori", categories=names
    )
    source, config = RecordSource(folder), _config(cities, tmp_path)
    pois = [record["poi/category"] for record in source.read(range(len(source)))]
    lost = [np.isin(category, (1, 3)) for category in pois]
    count, total = sum(map(sum, lost)), sum(map(len, lost))
    match = rf"has 2 others, with {count} of its {total} POIs: \w+ \("
    with pytest.raises(InputError, match=match):
        inference.load_encoder(config, bundle, source)
    config.corpus.unknown_categories = "drop"
    encoder = inference.load_encoder(config, bundle, source)
    assert "They are left out." in caplog.text and "zoo (" in caplog.text

    # As if the region never had them.
    seen = encoder.of_city(source)
    batches = {"kept": [], "cut": []}
    for batch in pipeline.epoch_batches(source, batch_size=8, num_threads=2):
        batches["kept"].append(seen.encode(batch)["poi"])
        mask = batch["poi_mask"] & ~np.isin(batch["poi_category"], (1, 3))
        number = np.array([list(encoder.categories).index(n) if n in
                           encoder.categories else 0 for n in names])  # fmt: skip
        cut = {"poi_mask": mask, "poi_category": number[batch["poi_category"]]}
        batches["cut"].append(encoder.encode({**batch, **cut})["poi"])
    for kept, cut in zip(batches["kept"], batches["cut"], strict=True):
        for group, values in kept.items():
            np.testing.assert_allclose(values, cut[group], rtol=1e-5, atol=1e-6)
    city = readouts.EvaluatedCity.of(source)
    told = provenance.told_apart(config, city, bundle)
    assert any("2 cities; this is none of them: alba, bree." in line for line in told)


CONFIG = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import small_records
def get_config():
    config = small_records.config_of({records!r}, Path({folder!r}))
    config.data.batch_size = 8
    config.optim.schedule, config.optim.warmup = "constant", "0 steps"
    config.train.evaluate_every = None
    config.eval.tasks, config.eval.splits = ("population",), ("block",)
    config.eval.baselines, config.eval.protocols = (), ("linear",)
    config.eval.features, config.eval.curves.methods = ("poi",), ()
    config.eval.certainty.num_resamples = 20
    config.embed.features = "poi"
    return config
"""


def _command(cities, folder, *flags):
    """The command that trains on both cities; its config is written beside the run."""
    file = folder / "config.py"
    records, tests = str(cities / "bree/records"), str(ROOT / "tests")
    file.write_text(CONFIG.format(tests=tests, records=records, folder=str(folder)))
    return [
        "-m", "mmgr_jax.main", f"--config={file}",
        f"--config.corpus.records=('{cities}/*/records',)",
        "--config.corpus.categories=by_name", *flags,
    ]  # fmt: skip


@pytest.mark.slow  # two processes
def test_a_killed_run_goes_on_bit_for_bit(cities, tmp_path):
    flags = ["--config.train.total=12 steps", "--config.after_training=()"]
    command = _command(cities, tmp_path, *flags, "--config.train.save_every=1 steps")
    with (tmp_path / "output.txt").open("w") as output:
        process = forks.Process(command, output, session=True)
    begin = time.monotonic()
    while not list((tmp_path / "run/checkpoints").glob("[3-9]")):
        assert process.poll() is None and time.monotonic() - begin < 300
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    stopped = checkpoint.latest(tmp_path / "run")
    assert 3 <= int(stopped.name) < 12
    assert forks.run(*command).returncode == 0

    straight = _config(cities, tmp_path / "straight", "bree", steps=12)
    loop.train(straight)
    runs = (tmp_path / "run", tmp_path / "straight/run")
    chex.assert_trees_all_equal(
        *(checkpoint.load_arrays(checkpoint.latest(run)) for run in runs)
    )


@pytest.mark.slow
def test_the_command_trains_goes_on_evaluates_and_maps(cities, tmp_path):
    cities = Path(shutil.copytree(cities, tmp_path / "cities"))
    manifest = schema.Manifest.load(cities / "bree/records")
    # No settings made them, so the command does not build them by those of its config.
    dataclasses.replace(manifest, config={}).save(cities / "bree/records")

    def main(*flags):
        return forks.run(*_command(cities, tmp_path, *flags))

    first = main("--config.train.total=2 steps", "--config.after_training=()")
    assert first.returncode == 0, first.stderr
    assert "corpus of 2 cities, 48 regions" in first.stdout
    whole = main()
    assert whole.returncode == 0, whole.stderr
    assert "continuing from step 2" in whole.stdout
    assert (tmp_path / "run/maps/embeddings.parquet").exists()
    report = json.loads((tmp_path / "run/eval/report.json").read_text())
    assert report["tasks"]["population"]["num_regions"] == 24
    refused = main("--config.corpus.evenness=1.0")
    assert refused.returncode != 0
    output = refused.stdout + refused.stderr
    assert "corpus.evenness: 0.0 in the checkpoint, 1.0 here" in output
