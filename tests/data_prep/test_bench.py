import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep import pois
from data_prep.bench import command, synthetic
from data_prep.bench.plain_walks import PlainWalks
from data_prep.category_embedding import walks
from mmgr_jax.errors import InputError

ROOT = Path(command.__file__).parents[2]


@pytest.mark.parametrize("biases", [(1.0, 1.0), (2.0, 2.0), (0.3, 3.0)])
def test_the_peer_takes_the_same_walks(biases):
    edges = np.array([(0, 1), (1, 2), (0, 2), (1, 3), (3, 4)], np.int32)
    net = walks.adjacency(edges, np.array([1.0, 2.0, 5.0, 0.5, 1.5]), 5)
    category = np.array([0, 1, 2, 1, 3])
    peer = PlainWalks(net, category.tolist(), biases)
    found, seconds = peer.count_pairs(range(5), per_poi=3000, length=6, seed=0)
    counts = np.zeros((4, 4))
    for pair, count in found.items():
        counts[pair] = count
    first = np.tile(np.arange(5, dtype=np.int32), 20_000)
    path = walks.walk(net, first, 6, np.random.default_rng(0), *biases)
    met = category[path]
    expected = np.zeros((4, 4))
    np.add.at(expected, (np.repeat(met[:, 0], 5), met[:, 1:].ravel()), 1)
    assert counts.sum() == 5 * 3000 * 5 and seconds > 0
    share, expected_share = counts / counts.sum(), expected / expected.sum()
    np.testing.assert_allclose(share, expected_share, atol=0.005)


def test_the_synthetic_city_has_a_tail_and_quarters(tmp_path):
    for name in ("a.csv", "b.csv"):
        synthetic.write(tmp_path / name, 20_000)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    config = synthetic.get_config()
    settings = config.pois.to_dict() | dict(path=str(tmp_path / "a.csv"))
    table = pois.read(**settings, city_crs=config.city.crs)
    assert len(table) == 20_000 and not any(table.dropped.values())
    assert len(table.categories) == synthetic.NUM_CATEGORIES
    assert 20 <= len(set(table.parents)) <= synthetic.NUM_PARENTS
    counts = np.sort(np.bincount(table.category))[::-1]
    assert counts[:30].sum() > 0.5 * counts.sum() and np.median(counts) < 40
    # Neighbours share their first level far more often than chance has it.
    parent = pd.factorize(np.array(table.parents))[0][table.category]
    net = walks.city_network(table, None, 1.0)
    source = np.repeat(np.arange(len(table)), np.diff(net.start))
    alike = np.mean(parent[source] == parent[net.neighbour])
    chance = np.sum((np.bincount(parent) / len(parent)) ** 2)
    assert alike > 2 * chance


def test_the_command_measures_and_says_so(tmp_path):
    path = tmp_path / "bench.json"
    told = subprocess.run(
        [
            sys.executable,
            "-m",
            "data_prep.bench",
            "--num_pois=400",
            f"--json={path}",
            "--config.category_vectors.skipgram.num_steps=5",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert told.returncode == 0, told.stderr
    assert "vectors of 400 POIs in 297 categories (synthetic_city, skip" in told.stdout
    assert "s is within 180 s" in told.stdout and "MiB is within 4,096" in told.stdout
    assert "over 2,000 walks from 400 of the POIs; scaled to all 2,000" in told.stdout
    result = json.loads(path.read_text())
    seconds = dict(result["seconds"])
    whole_s = seconds.pop("whole process")
    assert sum(seconds.values()) == pytest.approx(whole_s)
    assert min(seconds.values()) >= 0 and 0.5 < whole_s < 180
    assert {"POIs", "network", "walks", "training", "start and rest"} == set(seconds)
    assert 50 < result["peak_mib"] < 4096
    peer = result["peer"]
    assert peer["seconds_of_all"] == pytest.approx(2000 * peer["seconds_a_walk"])
    walks_s = max(seconds["walks"], 0.01)
    assert peer["ratio"] * walks_s == pytest.approx(peer["seconds_of_all"])


def test_a_limit_passed_is_shouted():
    seconds = {"walks": 170.0, "whole process": 200.0}
    told = command.table(
        dict(
            city="x",
            method="random",
            machine="2 cores",
            pois=10,
            categories=2,
            seconds=seconds,
            peak_mib=100.0,
            limit_s=180.0,
            limit_mib=4096.0,
        )
    )
    assert "200 s is BEYOND 180 s, 100 MiB is within 4,096 MiB" in told


def test_a_city_that_fails_is_told(tmp_path, capfd):
    config = synthetic.get_config()
    config.pois.path = str(tmp_path / "none.csv")
    with pytest.raises(InputError, match="failed with status 2, see above"):
        command.bench(config, 10)
    assert "none.csv': no such file" in capfd.readouterr().err
