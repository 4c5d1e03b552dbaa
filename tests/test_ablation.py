"""Variants trained and compared under one evaluation."""

import json

import pytest

from configs import ablation as ablation_config
from mmgr_jax import ablation
from mmgr_jax.errors import InputError


@pytest.fixture
def small(records_dir, tmp_path):
    config = ablation_config.get_config("smoke")
    config.workdir, config.records.dir = str(tmp_path / "run"), str(records_dir)
    config.augment.size_px, config.mesh.data = 32, 1
    config.data.num_threads, config.train.total = 2, "2 steps"
    config.eval.num_folds, config.eval.protocols = 4, ("linear",)
    config.eval.certainty.num_resamples = 20
    config.eval.curves.fractions = (1.0,)
    config.readout.surroundings_m = ()  # those of the toy city are larger
    return config


@pytest.mark.slow
def test_variants_stand_in_one_report(small, tmp_path, capsys):
    small.ablation.seeds = (3,)
    small.eval.tasks, small.eval.splits = ("population",), ("block",)
    small.eval.features = ("image", "both")
    small.ablation.variants = [
        one for one in small.ablation.variants if one[0] != "image only"
    ]
    ablation.run(small)
    report = json.loads((tmp_path / "run/seed3/eval/report.json").read_text())
    methods = report["tasks"]["population"]["splits"]["block"]["linear"]
    encoders = ("MMGR", "inter only", "random")
    assert {f"{name} image" for name in encoders} <= set(methods)
    values = {name: methods[f"{name} image"]["metrics"]["rmse"] for name in encoders}
    assert len(set(values.values())) == len(encoders)  # none is another in disguise
    assert report["training_seed"] == 3
    assert report["checkpoint"].endswith("run/seed3/MMGR/checkpoints/2")
    assert "inter only both" in (tmp_path / "run/over_seeds.txt").read_text()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("population: MMGR both ")
    assert "inter only both " in printed[0] and printed[0].endswith(
        "block split, 1 run(s))"
    )
    assert printed[1:] == [
        f"page of seed3: {tmp_path}/run/seed3/eval/report.html",
        f"all seeds as a table: {tmp_path}/run/over_seeds.txt",
    ]


def test_a_variant_changes_what_it_names_and_the_seed(small):
    one = ablation.variant(small, (("loss.image_weight", 0.0),), 7)
    assert (one.loss.image_weight, one.seed, one.after_training) == (0.0, 7, ())
    assert small.loss.image_weight > 0


@pytest.mark.parametrize("change", [("loss.lambda", 1.0), ("loss.image_weight", "all")])
def test_a_variant_that_changes_nothing_is_refused(small, change):
    with pytest.raises(InputError, match=f"changes '{change[0]}'"):
        ablation.variant(small, (change,), 0)


def test_the_first_variant_is_what_others_are_compared_with(small):
    small.ablation.variants = (("image only", ()),)
    with pytest.raises(InputError, match="the first must be \\('MMGR'"):
        ablation.run(small)


@pytest.mark.parametrize("city", sorted(ablation_config.CITIES))
def test_every_city_has_an_ablation(city):
    config = ablation_config.get_config(city)
    assert [name for name, _ in config.ablation.variants][0] == "MMGR"
