"""Words that become mixes: the same POIs as `mmgr_jax.query` asks for."""

import numpy as np
import pytest
from small_records import write_records

from mmgr_jax import query
from mmgr_jax.data import schema, texts
from mmgr_jax.data.source import RecordSource
from mmgr_jax.explore import words

pytest.importorskip("wordllama")

CATEGORIES = ("hospital", "parking lot", "primary school", "playground", "cash machine")
TEXTS = (
    "hospital and parking",
    "university campus",
    "playground",
    "school for children near a park",
    "money",
    "hospital parking parking",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Records whose category vectors are those of their names."""
    folder = write_records(tmp_path_factory.mktemp("records"), categories=CATEGORIES)
    units = texts.load("wordllama")(CATEGORIES)
    mean = units.mean(axis=0)
    axes = np.zeros((16, units.shape[1]))
    axes[:4] = np.linalg.svd(units - mean)[2][:4]
    space = texts.TextSpace("wordllama", "", "0", CATEGORIES, mean, axes, 2.5)
    np.save(folder / "category_vectors.npy", space.project(units))
    (folder / texts.FILE).write_bytes(space.to_bytes())
    schema.Manifest.load(folder).save(folder, ("category_vectors.npy", texts.FILE))
    return RecordSource(folder)


@pytest.fixture(scope="module")
def vocabulary(source):
    return words.of_city(source, 17)


def given(own, place):
    """As the page has it."""
    return {
        "place": {"$map": place},
        "numbers": own.numbers.ravel(),
        "scale": own.scale.astype(np.float32),
        "mean": own.mean.astype(np.float32),
        "components": own.components.astype(np.float32).ravel(),
        "table": own.table.astype(np.float32).ravel(),
        "number": own.number_of_pois,
        "nearest": texts.NEAREST,
        "temperature": texts.TEMPERATURE,
    }


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_the_mix_that_a_query_asks_for(node, source, vocabulary, text):
    place = [[word, row] for row, word in enumerate(vocabulary.words)]
    asked = node("word_mix", "wordsAsMix", given(vocabulary, place), text)
    vector = texts.TextSpace.load(source.records_dir).vectors([text])[0]
    wanted = query.as_pois(vector, source.category_vectors(), number=17, nearest=5)
    assert asked["unknown"] == []
    assert asked["mix"] == [list(pair) for pair in wanted]


def test_words_that_are_not_there_are_named(node, vocabulary):
    place = [[word, row] for row, word in enumerate(vocabulary.words)]
    own = given(vocabulary, place)
    asked = node("word_mix", "wordsAsMix", own, "Xyzzyx, 24 hospital! xyzzyx")
    assert asked["unknown"] == ["xyzzyx"] and asked["mix"][0][0] == 0
    for text in ("", "12 34", "<>&"):
        nothing = {"mix": [], "unknown": []}
        assert node("word_mix", "wordsAsMix", own, text) == nothing


def test_the_vocabulary_is_bounded_and_holds_the_categories(vocabulary):
    assert set("hospital parking lot primary school cash and".split()) <= set(
        vocabulary.words
    )
    size = len(vocabulary.words)
    assert size <= words.MOST_WORDS + words.COMMONEST + 10
    assert len(set(vocabulary.words)) == size
    assert vocabulary.numbers.nbytes < 2e6


def test_other_category_vectors_take_no_words(tmp_path, source, monkeypatch, caplog):
    plain = RecordSource(write_records(tmp_path))
    assert words.of_city(plain, 5) is None and not caplog.records
    monkeypatch.setattr(texts, "is_installed", lambda model: False)
    assert words.of_city(source, 5) is None
    assert "requirements-text.txt" in caplog.text
