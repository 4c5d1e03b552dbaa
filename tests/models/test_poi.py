"""POI encoders: category vectors, empty sets, padding, and what each one looks at."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from small_model import build as build_mmgr
from small_pois import LENGTHS, K, sets

from mmgr_jax import settings
from mmgr_jax.errors import InputError
from mmgr_jax.losses.contrastive import mmgr_loss
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.models import poi
from mmgr_jax.models.settings import POI_ENCODERS, PoiEncoderSettings

D = 16
EMPTY = np.array(LENGTHS) == 0
KEY = jax.random.key(0, impl="rbg")  # compiles in a third of the time
ENCODERS = tuple(poi.FACTORIES)
TREATMENTS = ("frozen", "tuned", "scratch")


def build(name="set2set", category_vectors=None, **options):
    if name.endswith("set2set"):
        options = {"steps": 2} | options
    return poi.build(
        settings.read(
            PoiEncoderSettings, {"name": name} | options, "model.poi_encoder"
        ),
        num_categories=K,
        category_dim=D,
        category_vectors=category_vectors,
    )


def encoder_and_sets(name="set2set", **options):
    """A POI encoder, its variables and ragged sets."""
    model, pois = build(name, **options), sets()
    return model, jax.jit(model.init)(KEY, pois), pois


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request):
    """The name of an encoder, (variables, sets) -> vectors, and variables."""
    model, variables, _ = encoder_and_sets(request.param)
    return request.param, jax.jit(model.apply), variables


def vectors_of(variables):
    return variables["params"]["table"]["category_vectors"]


@pytest.mark.parametrize("name", ENCODERS)
def test_frozen_vectors_get_no_gradient_and_others_do(name):
    """And those that do get it for the categories that occur, and no others."""
    _, variables, pois = encoder_and_sets(name)

    @jax.jit
    def gradients(variables):
        def loss(variables, vectors):
            return jnp.sum(jnp.sin(build(name, vectors=vectors).apply(variables, pois)))

        return {vectors: jax.grad(loss)(variables, vectors) for vectors in TREATMENTS}

    grads = gradients(variables)
    occurring = np.unique(pois.category[pois.mask])
    assert not np.any(vectors_of(grads["frozen"]))
    for vectors in ("tuned", "scratch"):
        rows = np.any(vectors_of(grads[vectors]), axis=1)
        np.testing.assert_array_equal(np.flatnonzero(rows), occurring)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_records_table_starts_what_is_not_learnt_from_scratch(name):
    given = np.random.default_rng(2).normal(size=(K, D)).astype(np.float32)

    @jax.jit
    def tables(key):
        return {
            vectors: vectors_of(
                build(name, vectors=vectors, category_vectors=given).init(key, sets())
            )
            for vectors in TREATMENTS
        }

    started = tables(KEY)
    np.testing.assert_array_equal(started["frozen"], given)
    np.testing.assert_array_equal(started["tuned"], given)
    assert not np.any(started["scratch"] == given)
    np.testing.assert_allclose(np.std(started["scratch"]), 1.0, rtol=0.1)


@pytest.mark.parametrize("name", ENCODERS)
def test_empty_sets_share_one_learnt_vector(name):
    model, variables, pois = encoder_and_sets(name)

    def loss(variables):
        pooled = model.apply(variables, pois)
        return jnp.sum(jnp.sin(pooled)), pooled

    (_, rows), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)
    empty = variables["params"]["empty_set"]
    np.testing.assert_array_equal(rows[EMPTY], np.tile(empty, (2, 1)))
    assert not np.any(np.all(np.isclose(rows[~EMPTY], empty), axis=1))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
    gradient = grads["params"]["empty_set"]
    np.testing.assert_allclose(gradient, 2.0 * np.cos(empty), rtol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_constant_empty_set_has_no_parameter(name):
    model, variables, pois = encoder_and_sets(name, empty="constant")
    assert "empty_set" not in variables["params"]
    rows = jax.jit(model.apply)(variables, pois)[EMPTY]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert np.all(np.isfinite(rows))
    if name != "attention":
        assert not np.any(rows[:, D:])  # nothing was read


def test_a_summary_is_twice_as_long_as_a_vector(encoder):
    _, run, variables = encoder
    assert run(variables, sets()).shape == (8, 2 * D)


def test_padding_does_not_matter(encoder):
    """More slots and edges, nor which ids and offsets the slots hold."""
    _, run, variables = encoder
    expected = run(variables, sets())
    more = sets(slots=16, edge_slots=50)
    result = run(variables, more)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)
    other = more._replace(
        category=jnp.where(more.mask, more.category, 10**6),
        offset_m=jnp.where(more.mask[..., None], more.offset_m, jnp.nan),
    )
    np.testing.assert_array_equal(run(variables, other), result)


def test_rows_do_not_see_each_other(encoder):
    _, run, variables = encoder
    rows = run(variables, sets())
    others = run(variables, sets(moved=2))
    changed = np.any(np.abs(rows - others) > 1e-6, axis=1)
    np.testing.assert_array_equal(np.flatnonzero(changed), [2])


def test_order_of_pois_does_not_matter(encoder):
    _, run, variables = encoder
    result = run(variables, sets(shuffle=True))
    np.testing.assert_allclose(result, run(variables, sets()), rtol=1e-5, atol=1e-6)


def test_what_each_encoder_looks_at(encoder):
    """Categories; positions; the graph: what changes the summary of row 2."""
    name, run, variables = encoder
    pois = sets()
    looks_at = {
        field: not np.allclose(
            run(variables, pois)[2], run(variables, other)[2], atol=1e-3
        )
        for field, other in {
            "category": pois._replace(category=pois.category.at[2, 0].add(1) % K),
            "position": pois._replace(offset_m=pois.offset_m.at[2, 0].add(50.0)),
            "graph": pois._replace(edge_weight=pois.edge_weight.at[2].multiply(0.1)),
        }.items()
    }
    assert looks_at["category"]
    assert looks_at["position"] == (name == "attention")
    assert looks_at["graph"] == (name == "gcn_set2set")
    assert looks_at["graph"] == build(name).reads_edges


def test_pois_at_one_place_have_no_order(encoder):
    """Where neither position nor edge tells POIs apart, how many of a kind counts."""
    _, run, variables = encoder
    pois = sets()
    pois = pois._replace(
        offset_m=jnp.full_like(pois.offset_m, 30.0),
        edge_weight=jnp.zeros_like(pois.edge_weight),
    )
    row, n = 2, LENGTHS[2]
    order = np.random.default_rng(3).permutation(n)
    shuffled = pois.category.at[row, :n].set(pois.category[row, order])
    np.testing.assert_allclose(
        run(variables, pois._replace(category=shuffled)),
        run(variables, pois),
        rtol=1e-5,
        atol=1e-6,
    )


def test_split_over_devices_it_answers_the_same_without_a_word_between_them(encoder):
    _, run, variables = encoder
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    whole = NamedSharding(mesh, PartitionSpec())
    rows = NamedSharding(mesh, PartitionSpec("data"))
    split = jax.jit(run, in_shardings=(whole, rows), out_shardings=rows)
    split = split.lower(variables, sets()).compile()
    for exchange in ("all-", "permute", "reduce-scatter"):
        assert exchange not in split.as_text()
    spread = split(jax.device_put(variables, whole), jax.device_put(sets(), rows))
    np.testing.assert_allclose(spread, run(variables, sets()), rtol=1e-5, atol=1e-6)


class MeanColour(nn.Module):
    """An image encoder that compiles at once."""

    pixel_mean = pixel_std = (0.5, 0.5, 0.5)

    @nn.compact
    def __call__(self, image, train, every_stage=False):
        return nn.Dense(8)(jnp.mean(image, axis=(1, 2)))


@pytest.mark.parametrize("name", ENCODERS)
def test_mmgr_learns_through_the_encoder(name):
    """Each parameter gets a finite gradient, with empty sets in the batch."""
    model = build_mmgr(num_categories=K, category_dim=D, projection_dim=8)
    encoder = build(name, vectors="tuned")
    model = model.clone(image_encoder=MeanColour(), poi_encoder=encoder)
    rng = np.random.default_rng(4)
    views = jnp.array(rng.normal(size=(2, 8, 4, 4, 3)), jnp.float32)
    pois = sets()
    like = jax.eval_shape(lambda key: model.init(key, views, pois, train=True), KEY)

    @jax.jit
    @jax.grad
    def gradient(params):
        outputs = model.apply({"params": params}, views, pois, train=True)
        return mmgr_loss(
            **outputs,
            settings=LossSettings(),
            poi_empty=~jnp.any(pois.mask, axis=1),
        )[0]

    grads = gradient(
        jax.tree.map(
            lambda leaf: jnp.array(rng.normal(0, 0.3, leaf.shape), leaf.dtype),
            like["params"],
        )
    )
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads["poi_encoder"]):
        name = jax.tree_util.keystr(path)
        # The same number added to every score leaves a softmax as it is.
        neutral = name.endswith("['key']['bias']")
        assert (np.max(np.abs(leaf)) < 1e-6) if neutral else np.any(leaf), name


# With d = 64: the LSTM of Set2Set 4 * 64 * (128 + 64 + 2), the learnt empty set 128.
# The convolution adds 64 * (64 + 1), the attention is seeds 2 * 64, two feed-forward
# layers 128 * (64 + 64) + 128 + 64, four projections 64 * (64 + 1), two norms 2 * 64,
# and a projection of 4 * 6 features 64 * (24 + 1).
@pytest.mark.parametrize(
    ("name", "num_params"),
    [
        ("set2set", 49_664 + 128),
        ("gcn_set2set", 49_664 + 128 + 4_160),
        ("attention", 128 + 2 * 16_576 + 4 * 4_160 + 2 * 128 + 1_600 + 128),
    ],
)
def test_parameter_counts(name, num_params):
    model = poi.build(PoiEncoderSettings(name=name), num_categories=K, category_dim=64)
    params = jax.eval_shape(model.init, KEY, sets())["params"]
    del params["table"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == num_params


@pytest.mark.parametrize("name", ENCODERS)
def test_an_unknown_option_is_refused(name):
    with pytest.raises(InputError, match="model.poi_encoder.stepz is unknown"):
        build(name, stepz=3)


def test_every_encoder_has_settings_of_its_name():
    assert poi.FACTORIES.keys() == POI_ENCODERS.keys()
    for name, kind in POI_ENCODERS.items():
        assert kind().name == name
        plain = PoiEncoderSettings(name=name, counts=True)
        assert plain.with_options() == kind(counts=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("set2set", {"steps": 0}, "config.model.poi_encoder.steps=0; allowed: greater"),
        (
            "gcn_set2set",
            {"layers": 0},
            "poi_encoder.layers=0; allowed: greater than or",
        ),
        ("attention", {"seeds": -1}, "poi_encoder.seeds=-1; allowed: greater than or"),
        (
            "attention",
            {"shortest_wavelength_m": 0.0},
            "poi_encoder.shortest_wavelength_m=0.0; allowed: greater than 0.",
        ),
        (
            "attention",
            {"longest_wavelength_m": 32.0},
            "poi_encoder.shortest_wavelength_m=64.0 is longer than longest_wavele",
        ),
    ],
)
def test_options_outside_their_range_are_refused(name, options, message):
    with pytest.raises(InputError) as error:
        build(name, **options)
    assert message in str(error.value)
