"""Category vectors from words: phrases, the space, names of POIs, the encoders."""

import logging
import socket
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import small_city
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from test_category_embedding import SETTINGS, TEXT

from data_prep import build, comparison
from data_prep import settings as settings_lib
from data_prep.category_embedding import command, names, neighbours, text
from data_prep.category_embedding import vectors as vectors_lib
from data_prep.category_embedding.settings import CategoryVectorSettings, TextSettings
from data_prep.pois import table as pois
from data_prep.pois.settings import PoiSettings
from mmgr_jax.data import schema, texts
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

SANTA_MONICA = (
    Path(vectors_lib.__file__).parents[2].parent
    / "shared/data/santa_monica/pois.geojson"
)
CITY = (  # category, first level
    ("amenity/bank", "money"),
    ("bureau_de_change", "money"),
    ("forest", "nature"),
    ("park", "nature"),
    ("university", "learning"),
    ("primarySchool", "learning"),
    ("cafe", "food"),
    ("restaurant", "food"),
)


def _pois(categories=CITY, poi_names=None, category=None):
    said, parents = zip(*categories, strict=True)
    category = np.arange(len(said)) if category is None else np.asarray(category)
    zeros = np.zeros(len(category))
    given = None if poi_names is None else np.array(poi_names, object)
    return pois.PoiTable(
        zeros, zeros, category.astype(np.int32), said, parents, {}, name=given
    )


def _settings(**changed):
    settings = SETTINGS | dict(method="text", text=TEXT | changed)
    return read(CategoryVectorSettings, settings, "category_vectors")


@pytest.fixture
def wordllama():
    pytest.importorskip("wordllama", reason="requirements-text.txt is not installed")
    return texts.load("wordllama")


def _letters(said):
    """Counts of letters: a stand-in that knows nothing, for tests of mechanics."""
    return np.array([[t.lower().count(chr(97 + i)) for i in range(26)] for t in said])


LETTERS = texts.SentenceEncoder("wordllama", "0", _letters)


# ---- phrases ----


@pytest.mark.parametrize(
    ("category", "parent", "expected"),
    [
        ("bank", "finance", "bank, finance"),
        ("bank", "bank", "bank"),
        ("amenity/place_of_worship", "amenity", "place of worship, amenity"),
        ("amenity/place_of_worship", "religion", "place of worship, amenity, religion"),
        ("PrimarySchool", "Education", "primary school, education"),
        ("POIType.Other", "x", "poi type other, x"),
        ("Food > Asian > Thai", "Food", "thai, asian, food"),
        ("餐饮服务;中餐厅", "餐饮服务", "中餐厅, 餐饮服务"),
        ("---", "---", "---"),
    ],
)
def test_a_phrase_is_the_name_in_words_and_what_stands_above_it(
    category, parent, expected
):
    (found,) = text.phrases(
        [category],
        [parent],
        TextSettings(template="{name}, {parent}", template_alone="{name}"),
    )
    assert found == expected


def test_phrases_of_ones_own_come_first(tmp_path):
    path = tmp_path / "phrases.csv"
    path.write_text("category,phrase\nb, wood and trees \nunknown,x\nc,\n")
    found = text.phrases(
        ("a", "b", "c"),
        ("a", "q", "q"),
        TextSettings(
            template="a {name} ({parent})",
            template_alone="a {name} alone",
            phrases=str(path),
        ),
    )
    assert found == ("a a alone", "wood and trees", "a c (q)")


# ---- the space ----


def test_the_space_is_that_of_principal_components():
    """The oracle is scikit-learn's PCA, up to signs and one scale."""
    units = np.random.default_rng(0).normal(size=(30, 12))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    mean, components, scale = text.fit(units, 5)
    oracle = PCA(5, svd_solver="full").fit(units)
    np.testing.assert_allclose(mean, oracle.mean_, atol=1e-12)
    np.testing.assert_allclose(np.abs(components), np.abs(oracle.components_))
    largest = np.abs(components).argmax(axis=1)
    assert (np.take_along_axis(components, largest[:, None], 1) > 0).all()
    scores = (units - mean) @ components.T
    assert scale == pytest.approx(1 / np.sqrt(np.mean(scores**2)))


@pytest.mark.parametrize("dim", [3, 64])
def test_a_table_is_as_large_as_one_of_normal_numbers(dim):
    """Mean 0 and mean square 1, as N(0, 1) has; left-over numbers are zero."""
    said = [category for category, _ in CITY]
    table, space = text.make(said, LETTERS, dim=dim, folder=None)
    assert table.shape == (8, dim) and table.dtype == np.float32
    np.testing.assert_allclose(table.mean(axis=0), 0, atol=1e-5)
    assert np.mean(table.astype(float) ** 2) == pytest.approx(1, rel=1e-6)
    used = min(dim, 7)  # 8 phrases about their mean span 7 directions
    assert (np.abs(table[:, :used]).max(axis=0) > 0.1).all()
    assert not table[:, used:].any()
    np.testing.assert_allclose(space.project(LETTERS(said)), table, atol=1e-6)


def test_cosines_of_a_table_with_room_are_those_of_the_centred_vectors():
    said = [category for category, _ in CITY]
    table, _ = text.make(said, LETTERS, dim=64, folder=None)
    centred = LETTERS(said) - LETTERS(said).mean(axis=0)
    np.testing.assert_allclose(
        neighbours.cosines(table),
        neighbours.cosines(centred.astype(np.float32)),
        atol=1e-6,
    )


def test_categories_of_one_phrase_cannot_be_told_apart():
    for said in (["cafe"], ["cafe", "cafe"]):
        with pytest.raises(InputError, match="all have the same phrase"):
            text.make(said, LETTERS, dim=8, folder=None)


def test_a_text_without_a_vector_is_named():
    with pytest.raises(InputError, match=r"wordllama has no vector for the text '123'"):
        LETTERS(["cafe", "123"])


def test_a_stored_space_is_the_same(tmp_path):
    _, space = text.make(["cafe", "bar", "zoo"], LETTERS, dim=4, folder="x")
    (tmp_path / texts.FILE).write_bytes(space.to_bytes())
    found = texts.TextSpace.load(tmp_path)
    assert found.phrases == space.phrases and found.folder == "x"
    assert (found.model, found.version) == ("wordllama", "0")
    for name in ("mean", "components", "scale"):
        np.testing.assert_array_equal(getattr(found, name), getattr(space, name))
    assert found.to_bytes() == space.to_bytes()


def test_another_model_in_the_folder_is_noticed(monkeypatch):
    _, space = text.make(["cafe", "bar", "zoo"], LETTERS, dim=4, folder=None)
    other = texts.SentenceEncoder("wordllama", "1", lambda said: np.ones((1, 7)))
    monkeypatch.setattr(texts, "load", lambda model, folder: other)
    with pytest.raises(InputError, match="7 numbers a text, but .* made with 26"):
        space.vectors(["park"])


# ---- wordllama ----


def test_wordllama_averages_its_table_over_the_tokens_and_needs_no_network(
    monkeypatch, tmp_path
):
    """The oracle reads the files in its wheel by `tokenizers` and `safetensors`."""
    package = pytest.importorskip("wordllama")
    tokenizers = pytest.importorskip("tokenizers")

    def refuse(*_):
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(
        package.WordLlama, "DEFAULT_CACHE_DIR", tmp_path / "empty cache"
    )
    root = Path(package.__file__).parent
    (weights,) = (root / "weights").glob("*.safetensors")
    (tokens,) = (root / "tokenizers").glob("*.json")
    table = safetensors.numpy.load_file(weights)["embedding.weight"].astype(float)
    tokenizer = tokenizers.Tokenizer.from_file(str(tokens))
    said = ["bank, finance", "a place of worship", "forest", "大学"]
    ids = [tokenizer.encode(each, add_special_tokens=False).ids for each in said]
    expected = np.array([table[each].mean(axis=0) for each in ids])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    texts.load.cache_clear()
    handlers = list(logging.getLogger().handlers)
    found = texts.load("wordllama")(said)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert logging.getLogger().handlers == handlers
    assert not list(tmp_path.iterdir())


def test_what_means_alike_lies_near(wordllama):
    made = vectors_lib.make(_pois(), _settings(template="{name}"))
    cosine = neighbours.cosines(made.vectors)
    number = {name: index for index, (name, _) in enumerate(CITY)}

    def likeness(first, second):
        return cosine[number[first], number[second]]

    assert likeness("amenity/bank", "bureau_de_change") > likeness(
        "amenity/bank", "forest"
    )
    assert likeness("forest", "park") > likeness("forest", "restaurant")
    assert likeness("university", "primarySchool") > likeness("university", "cafe")
    for said, expected in (
        ("university campus", "university"),
        ("woods and trees", "forest"),
        ("a place to eat", "restaurant"),
        ("coffee", "cafe"),
    ):
        near = made.vectors @ made.space.vectors([said])[0]
        near = near / np.linalg.norm(made.vectors, axis=1)
        assert CITY[int(near.argmax())][0] == expected, said


def test_parents_in_the_phrase_draw_siblings_together(wordllama):
    table = _pois()
    without, with_parents = (
        vectors_lib.make(table, _settings(template=template)).vectors
        for template in ("{name}", "{name}, {parent}")
    )
    before = neighbours.mean_cosines(table.parents, without)
    after = neighbours.mean_cosines(table.parents, with_parents)
    assert after[0] > before[0] + 0.1 and after[0] > after[1] + 0.3


def test_the_same_settings_give_the_same_bytes(wordllama):
    first, second = (vectors_lib.make(_pois(), _settings()) for _ in range(2))
    assert first.vectors.tobytes() == second.vectors.tobytes()
    assert first.space.to_bytes() == second.space.to_bytes()
    assert first.space.phrases[0] == "bank, amenity, money"


# ---- sentence-transformers ----


def test_a_model_of_sentence_transformers_is_read_from_its_folder(tmp_path):
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {"[UNK]": 0, "bank": 1, "forest": 2, "cafe": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    table = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    static = StaticEmbedding(tokenizer, embedding_weights=table)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "model"))
    encode = texts.load("sentence-transformers", str(tmp_path / "model"))
    found = encode(["bank", "bank forest"])
    expected = np.array([table[1], table[[1, 2]].mean(axis=0)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no model of sentence-transformers"):
        texts.load("sentence-transformers", str(tmp_path / "none"))


# ---- settings ----


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (dict(model="bert"), r"text.model='bert'; allowed: 'wordllama' or 'sentence-"),
        (dict(folder="x"), r"text.folder is 'x', but 'wordllama' reads none"),
        (
            dict(model="sentence-transformers", folder="all-MiniLM-L6-v2"),
            r"folder is 'all-MiniLM-L6-v2', which is no folder; .* Nothing is dow",
        ),
        (dict(template="{parent}"), r"text.template is '{parent}'; allowed"),
        (
            dict(template="{name} {kind}"),
            r"text.template is .*; allowed: a text that "
            r"contains",
        ),
        (dict(template_alone="{name}, {parent}"), r"text.template_alone is"),
        (dict(names_per_category=-1), r"names_per_category=-1; allowed: gr"),
        (dict(phrases="gone.csv"), r"text.phrases 'gone.csv': no such file. Wanted"),
    ],
)
def test_wrong_settings_are_named(changed, expected):
    with pytest.raises(InputError, match=expected):
        vectors_lib.make(_pois(), _settings(**changed))


def test_a_package_that_is_missing_is_named_with_its_command(monkeypatch):
    def missing(name):
        raise texts.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(texts.importlib.metadata, "version", missing)
    with pytest.raises(
        InputError, match=r"not installed: `pip install -r requirements-text.txt`"
    ):
        vectors_lib.make(_pois(), _settings())


def test_a_file_of_phrases_must_be_one(tmp_path):
    path = tmp_path / "phrases.csv"
    for content, expected in (
        ("category,words\na,b\n", r"has no column 'phrase'; its columns"),
        ("category,phrase\na,b\na,c\n", r"several phrases for 'a'"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=expected):
            vectors_lib.make(_pois(), _settings(phrases=str(path)))


def test_a_recipe_holds_the_text_and_what_its_files_hold(tmp_path):
    def recipe(**changed):
        return comparison.recipe(_settings(**changed))

    plain = recipe()
    assert plain == dict(method="text", dim=64, text=TEXT)
    assert not vectors_lib.reads_names(plain)
    by_names = recipe(names_per_category=3)
    assert by_names["seed"] == 0 and vectors_lib.reads_names(by_names)
    path = tmp_path / "phrases.csv"
    path.write_text("category,phrase\n")
    first = recipe(phrases=str(path))["sha256"]
    path.write_text("category,phrase\na,b\n")
    assert first != recipe(phrases=str(path))["sha256"] is not None
    path.unlink()
    assert recipe(phrases=str(path))["sha256"] is None


# ---- names of POIs ----

FOOD = (("cafe", "food"), ("park", "nature"))
NAMES = ["aaa", "aab", "zzz", "zzy", "zzz", "", "aaa", "", "q"]
NAMED = [0, 0, 0, 0, 0, 0, 0, 1, 1]


def test_names_part_a_category_and_pois_without_one_stay():
    table = _pois(FOOD, NAMES, NAMED)
    finer, said = names.split(
        table, ("coffee", "green"), LETTERS, per_category=2, seed=0
    )
    assert finer.categories == ("cafe", "park", "cafe: aaa", "cafe: zzz", "park: q")
    assert finer.parents == ("food", "nature", "food", "food", "nature")
    assert finer.category.tolist() == [2, 2, 3, 3, 3, 0, 2, 1, 4]
    assert said == ("coffee", "green", "coffee: aaa", "coffee: zzz", "green: q")
    assert table.category.tolist() == NAMED  # the table that came is as it was
    again, _ = names.split(table, said[:2], LETTERS, per_category=2, seed=0)
    assert again.categories == finer.categories


def test_clusters_are_as_good_as_scikit_learn_s():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 6)) * 5
    units = np.repeat(centres, 10, axis=0) + rng.normal(size=(40, 6))
    member = np.concatenate([np.arange(40), rng.integers(0, 40, 60)])
    group, nearest = names.clusters(units, member, 4, seed=0)
    oracle = KMeans(4, n_init=10, random_state=0).fit(
        units, sample_weight=np.bincount(member)
    )
    pairs = set(zip(group.tolist(), oracle.labels_.tolist(), strict=True))
    assert len(pairs) == 4  # the same clusters by other numbers
    assert group[nearest].tolist() == [0, 1, 2, 3] and (np.diff(nearest) > 0).all()
    few, own = names.clusters(units[:3], np.arange(3), 4, seed=0)
    assert few.tolist() == own.tolist() == [0, 1, 2]


def test_a_cluster_called_like_a_category_is_refused():
    table = _pois((("cafe", "food"), ("cafe: a", "food")), ["a", ""], [0, 1])
    with pytest.raises(InputError, match="'cafe: a' exists already"):
        names.split(table, ("x", "y"), LETTERS, per_category=2, seed=0)


def test_names_need_a_column():
    with pytest.raises(InputError, match=r"name_column names no column"):
        names.split(_pois(), ("x",) * 8, LETTERS, per_category=2, seed=0)


def test_names_of_a_real_file(wordllama):
    if not SANTA_MONICA.exists():
        pytest.skip(f"needs {SANTA_MONICA}")
    table = pois.read(PoiSettings(str(SANTA_MONICA)), city_crs="EPSG:26911")
    assert len(table.name) == len(table) and (table.name != "").sum() > 800
    made = vectors_lib.make(table, _settings(names_per_category=4))
    k = len(table.categories)
    finer = made.pois
    assert finer.categories[:k] == table.categories
    assert k < len(finer.categories) == len(made.vectors) <= 5 * k
    of = [name.partition(": ")[0] for name in finer.categories[k:]]
    assert max(map(of.count, of)) == 4
    # Every POI is in its old category, or in a part of it that bears its category.
    for old, new in zip(table.category, finer.category, strict=True):
        whole = table.categories[old]
        assert new == old or finer.categories[new].startswith(f"{whole}: ")
    assert ((finer.category < k) == (table.name == "")).all()
    again = vectors_lib.make(table, _settings(names_per_category=4))
    assert again.vectors.tobytes() == made.vectors.tobytes()


# ---- records ----


@pytest.fixture
def config(tmp_path, wordllama):
    config = small_city.write(tmp_path)
    config.category_vectors.method = "text"
    config.category_vectors.dim = 8
    return config


def test_records_hold_the_vectors_and_their_space(config):
    folder = build.build(config)
    space = texts.TextSpace.load(folder)
    manifest = schema.Manifest.load(folder)
    assert manifest.categories == ("cafe", "park", "school")
    assert space.phrases == ("cafe, food", "park, leisure", "school, education")
    vectors = np.load(folder / schema.CATEGORY_VECTORS_FILE)
    assert vectors.shape == (3, 8) and not vectors[:, 2:].any()
    np.testing.assert_allclose(space.vectors(space.phrases), vectors, atol=1e-5)
    before = (folder / texts.FILE).read_bytes()
    command.write(config)
    assert (folder / texts.FILE).read_bytes() == before
    config.category_vectors.method = "random"
    build.ensure(config)
    assert not (folder / texts.FILE).exists()
    config.category_vectors.method = "text"
    build.ensure(config)
    assert (folder / texts.FILE).read_bytes() == before


def test_names_are_in_the_records_and_leaving_them_builds_again(config, caplog):
    config.category_vectors.text.names_per_category = 2
    folder = build.build(config)
    manifest = schema.Manifest.load(folder)
    finer = manifest.categories[3:]
    assert finer and all(name.split(": ")[0] in "cafe park school" for name in finer)
    from mmgr_jax.data.source import RecordSource

    source = RecordSource(folder)
    ids = np.concatenate([source[row]["poi/category"] for row in range(len(source))])
    assert len(ids) == manifest.report["POIs inside"] and (ids >= 3).all()
    build.ensure(config)
    command.write(config)  # the same categories by the same names
    with caplog.at_level(logging.INFO):
        build.ensure(config)
        assert "again" not in caplog.text
        config.category_vectors.method = "random"
        build.ensure(config)
    assert "building again" in caplog.text
    assert schema.Manifest.load(folder).categories == ("cafe", "park", "school")
    config.category_vectors.method = "text"
    build.ensure(config)
    assert len(schema.Manifest.load(folder).categories) == len(manifest.categories)


def test_settings_of_a_manifest_are_those_of_the_config(config):
    settings = settings_lib.read(config)
    folder = build.build(config)
    assert comparison.differing(schema.Manifest.load(folder).config, settings) == []
