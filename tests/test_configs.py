"""Every config: its step compiles in the abstract, and its keys are all read."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from all_sections import sections

from configs import (
    ablation,
    common,
    helsinki,
    my_city,
    recipes,
    released_sample,
    santa_monica,
    settings_page,
    shanghai,
    socal,
    toy_cities,
    toy_city,
    wuhan,
)
from mmgr_jax import removed_settings, settings
from mmgr_jax.errors import InputError
from mmgr_jax.models import start
from mmgr_jax.store import checkpoint, identity
from mmgr_jax.train import optim
from mmgr_jax.train import step as train_step
from mmgr_jax.train.settings import OptimSettings, TrainingSettings

ROOT = Path(__file__).parents[1]
CONFIGS = {
    "toy_city": toy_city.get_config(),
    "toy_city:image_only": toy_city.get_config("image_only"),
    "toy_city:smoke": toy_city.get_config("smoke"),
    "toy_cities:tropic": toy_cities.get_config("tropic"),
    "shanghai": shanghai.get_config(),
    "wuhan": wuhan.get_config(),
    "my_city": my_city.get_config(),
    "my_city:gpu": my_city.get_config("gpu"),
    "released_sample": released_sample.get_config("released"),
    "santa_monica": santa_monica.get_config(),
    "santa_monica:osm_pois": santa_monica.get_config("osm_pois"),
    "socal:riverside": socal.get_config("riverside"),
    "socal:palm_springs": socal.get_config("palm_springs"),
    "helsinki:runlocal": helsinki.get_config("runlocal"),
} | {f"shanghai:{recipe}": shanghai.get_config(recipe) for recipe in common.RECIPES}


def slow(name):
    """Variants, and cities whose model is that of another one here."""
    return ":" in name or name in ("wuhan", "santa_monica")


def _abstract_batch(config, num_slots=16):
    b, side = config.data.batch_size, config.regions.tile_size_px
    shapes = {
        "image": ((b, side, side, 3), jnp.uint8),
        "poi_category": ((b, num_slots), jnp.int32),
        "poi_offset_m": ((b, num_slots, 2), jnp.float32),
        "poi_mask": ((b, num_slots), bool),
        "example_mask": ((b,), bool),
    }
    return {k: jax.ShapeDtypeStruct(*shape) for k, shape in shapes.items()}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if slow(name) else [])
        for name in CONFIGS
    ],
)
def test_a_whole_step_of_every_config(name):
    config = CONFIGS[name]
    metadata = checkpoint.Metadata({}, tuple("abc"), config.category_vectors.dim)
    given = TrainingSettings.of(config)
    model = start.build_model(given.model, metadata)
    tx, _ = optim.build(
        given.optim,
        batch_size=given.data.batch_size,
        total_steps=100,
        to_steps=lambda *_: 10,
    )
    step = train_step.make_train_step(
        model,
        tx,
        augment=given.augment,
        loss=given.loss,
        gradient_dtype=given.train.gradient_dtype,
    )
    state = jax.eval_shape(
        lambda: train_step.init_state(
            model, tx, jax.random.key(0), 16, config.augment.size_px
        )
    )
    after, values = jax.eval_shape(
        step, state, _abstract_batch(config), jax.random.key(0)
    )
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for before, leaf in zip(
        jax.tree.leaves(state), jax.tree.leaves(after), strict=True
    ):
        assert (before.shape, before.dtype) == (leaf.shape, leaf.dtype)
    assert {value.shape for value in values.values()} == {()}
    assert {"loss", "loss_inter", "loss_intra"} <= values.keys()


def test_the_paper_s_setting():
    config = CONFIGS["shanghai"]
    assert config.model.image_encoder.name == "resnet50"
    assert config.augment.size_px == config.regions.tile_size_px == 224
    assert config.model.projection_dim == 128
    assert (config.loss.temperature, config.loss.image_weight) == (0.5, 0.5)
    assert (config.data.batch_size, config.train.total) == (128, "120 epochs")


def test_the_schedule_as_meant_stays_down():
    config = CONFIGS["shanghai"]
    epoch = 7  # steps
    _, rate = optim.build(
        settings.read(OptimSettings, config.optim, "optim"),
        batch_size=128,
        total_steps=120 * epoch,
        to_steps=lambda text, key: int(text.split()[0]) * epoch,
    )
    for at, expected in ((0, 1e-2), (89, 1e-2), (90, 1e-3), (100, 1e-3), (110, 1e-4),
                         (119, 1e-4)):  # fmt: skip
        assert float(rate(at * epoch)) == pytest.approx(expected, rel=1e-6), at


def _differences(ours, theirs, prefix=""):
    for key in ours:
        if isinstance(ours[key], dict):
            yield from _differences(ours[key], theirs[key], f"{prefix}{key}.")
        elif ours[key] != theirs[key]:
            yield f"{prefix}{key}"


def test_recipes_differ_from_the_paper_s_by_named_options():
    paper = CONFIGS["shanghai:paper"].to_dict()
    assert paper == CONFIGS["shanghai"].to_dict()
    released = CONFIGS["shanghai:released"].to_dict()
    assert set(_differences(released, paper)) == {
        "workdir",
        "optim.schedule",
        "data.short_batch",
        "model.poi_encoder.empty",
        "loss.empty_sets",
    }
    assert released["model"]["batch_statistics"] == "per_view"
    assert not released["loss"]["symmetric"]
    assert not released["augment"]["vertical_flip"]
    large = CONFIGS["shanghai:large_batch"]
    assert large.loss.symmetric and large.model.learn_temperature
    assert large.data.batch_size >= 1000


def test_an_unknown_variant_is_refused_with_the_nearest():
    with pytest.raises(
        InputError, match="'runlocally' is unknown .did you mean 'runlocal'.*: paper, r"
    ):
        shanghai.get_config("runlocally")
    with pytest.raises(InputError, match="'runlocally' is unknown"):
        shanghai.get_config("large_batch,runlocally")
    with pytest.raises(InputError, match="'a,b': this configuration takes one"):
        common.parse_variant("a,b", ("a", "b"))


def test_variants_compose_in_order():
    config = shanghai.get_config("large_batch, runlocal")
    expected = recipes.run_local(recipes.large_batch(shanghai.get_config()))
    assert config.to_dict() == expected.to_dict()
    assert (config.data.batch_size, config.model.dtype) == (64, "bfloat16")
    assert config.workdir == "runs/shanghai_large_batch_runlocal"
    assert shanghai.get_config("runlocal,large_batch").data.batch_size == 4096


def test_a_template_is_for_a_laptop_unless_a_variant_says_for_what():
    plain = my_city.get_config()
    assert plain.to_dict() == my_city.get_config("laptop").to_dict()
    assert (plain.regions.tile_size_px, plain.data.batch_size) == (64, 64)
    assert my_city.get_config("recommended").workdir == ("runs/my_city_laptop")
    sides = {}
    for name in ("paper", "gpu", "pod"):
        config = my_city.get_config(name)
        assert config.model.image_encoder.name == "resnet50", name
        assert config.records.dir == "data/my_city/records"
        sides[name] = config.regions.tile_size_px * config.regions.gsd_m
    assert set(sides.values()) == {plain.regions.tile_size_px * plain.regions.gsd_m}
    assert my_city.get_config("paper").readout.image == "pooled"
    assert my_city.get_config("pod").data.batch_size == 4096


def test_variants_of_a_city_and_recipes_compose_alike():
    both = toy_city.get_config("smoke,image_only,runlocal")
    assert both.city.name == "toy_city_smoke" and both.loss.image_weight == 1.0
    assert both.workdir == "runs/toy_city_smoke_image_only_runlocal"
    assert both.model.image_encoder.to_dict() == dict(name="resnet_small", width=32)
    plain = toy_city.get_config("paper,image_only")
    assert plain.readout.image == "pooled" and plain.loss.image_weight == 1.0
    place = santa_monica.get_config("osm_pois,paper")
    assert place.readout.image == "pooled" and "osm" in place.pois.path
    assert santa_monica.get_config("osm_pois").readout.image == "stages"
    assert socal.get_config("riverside,paper").readout.image == "pooled"
    study = ablation.get_config("shanghai,recommended")
    assert study.readout.image == "stages" and "ablation" in study
    assert study.workdir == "runs/ablation_shanghai_recommended"


def test_a_file_of_several_places_asks_for_one():
    with pytest.raises(InputError, match="name one, such as .* allowed: riverside, p"):
        socal.get_config()


def test_runlocal_shows_the_same_ground():
    config, full = CONFIGS["shanghai:runlocal"], CONFIGS["shanghai"]
    assert (
        config.regions.tile_size_px * config.regions.gsd_m
        == full.regions.tile_size_px * full.regions.gsd_m
    )


def test_every_city_starts_from_the_same_keys():
    base = common.base("x", crs="EPSG:32651")
    for name, config in CONFIGS.items():
        assert set(config.keys()) == set(base.keys()), name


def test_reading_a_config_loads_nothing_heavy():
    code = (
        "import sys, configs.common, configs.toy_city\n"
        "configs.toy_city.get_config()\n"
        "heavy = 'jax rasterio geopandas grain tensorflow_datasets matplotlib'\n"
        "print([name for name in heavy.split() if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told.strip() == "[]"


def test_the_page_of_settings_is_up_to_date():
    assert settings_page.PAGE.read_text() == settings_page.text(), (
        "docs/settings.md is old: python -m configs.settings_page"
    )


def test_no_setting_is_both_there_and_gone():
    config = common.base("x", crs="EPSG:32651")
    there = identity.flat(config.to_dict())
    assert "category_vectors.walks.length" in there and len(there) > 150
    assert [key for key in there if removed_settings.answer(key)] == []


def test_every_setting_is_explained():
    """The docstring of its section says what it means."""
    for kind in sections():
        _, meanings = settings_page._documented(kind)
        fields = [field.name for field in dataclasses.fields(kind)]
        parts = settings.hints_of(kind)
        named = [name for name in fields if not is_section(parts[name])]
        assert [name for name in named if name not in meanings] == [], kind


def is_section(hint):
    return isinstance(hint, type) and issubclass(hint, settings.Section)
