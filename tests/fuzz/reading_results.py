"""How weights, samples, features, vectors and results are read from foreign files.

As in `reading_cities`: a folder in, a result with what must hold of it, or an
`InputError`.
"""

import contextlib
import functools
import io
import tempfile
from pathlib import Path

import numpy as np
import undamaged_results
from reading_cities import changed, config_of

from data_prep.category_embedding import text as category_text
from data_prep.category_embedding import vectors as category_vectors
from data_prep.category_embedding.settings import TextSettings
from data_prep.pois.table import PoiTable


def read_vectors(folder, name):
    """Vectors of categories and the phrases of a text encoder."""
    given = dict(method="table", table=dict(path=str(folder / name)))
    settings = changed(category_vectors=given).category_vectors
    table = PoiTable(
        np.zeros(1),
        np.zeros(1),
        np.zeros(1, np.int32),
        ("cafe", "公园"),
        ("a", "b"),
        {},
    )
    vectors = category_vectors.make(table, settings).vectors
    assert len(vectors) == 2 and np.isfinite(vectors).all()
    said = category_text.phrases(
        ("cafe", "park"), ("food", "land"),
        TextSettings(
            template="{name} ({parent})", phrases=str(folder / "phrases.csv")
        ),
    )  # fmt: skip
    assert len(said) == 2 and all(said)


def read_features(folder, name):
    """Features that somebody else made."""
    from mmgr_jax.data import feature_tables

    found = feature_tables.read("t", str(folder / name), ["a", "b"])
    assert len(found) == 2 and np.isfinite(found).all()
    feature_tables.about("t", str(folder / name))


@functools.cache
def _good_records():
    folder = Path(tempfile.mkdtemp())
    undamaged_results.records(folder)
    return folder


def training_settings():
    from small_configs import get_config

    config = get_config(f"records={_good_records()}")
    names = ("data", "augment", "model", "loss", "optim", "train", "init", "eval")
    return {name: config[name].to_dict() for name in names}


def read_training(folder):
    """A run by a command line, before its first step."""
    from mmgr_jax.train import experiment

    experiment.build(config_of(folder, "records", _good_records()))


def read_released(folder):
    """A released sample, its pixels too."""
    from data_prep.import_released import sample

    content = sample.read("x", str(folder / "raw"))
    side = content.tile_size_px
    for path in content.images.values():
        assert sample.tile(path).shape == (side, side, 3)
    for edges, category in zip(content.pois.edges, content.pois.category, strict=True):
        assert not len(edges) or 0 <= edges.min() <= edges.max() < len(category)
    assert np.isfinite(content.pois.vectors).all()


@functools.cache
def _like():
    return undamaged_results.like()


def read_weights(folder, name):
    """Weights of an image encoder."""
    import jax

    from mmgr_jax.models import layouts, parts, torch_files

    held = torch_files.read_state_dict(folder / name)
    like = _like()
    unified, _ = layouts.unified(held, like["params"]["image_encoder"])
    unified, _ = parts.with_resampled_positions(unified, like)
    found = parts.image_encoder_from_torch(unified, like)
    shapes = [leaf.shape for leaf in jax.tree.leaves(found)]
    assert shapes == [leaf.shape for leaf in jax.tree.leaves(like)]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def read_report(folder):
    """A report as a page, and beside another one."""
    from mmgr_jax import compare, page

    path = folder / "eval" / "report.json"
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:
            page.main([str(path)])
        except SystemExit as ended:
            assert ended.code == 2 and told.getvalue().startswith("error: ")
            assert told.getvalue().count("\n") == 1
        compare.main([str(folder)])


def read_records(folder):
    """Records that somebody passed on."""
    from mmgr_jax.data.source import RecordSource

    source = RecordSource(folder)
    found = source.read(range(len(source)), image=True)
    assert all(row["image"].shape == (32, 32, 3) for row in found)
    vectors = source.category_vectors()
    assert len(vectors) == len(source.manifest.categories)
    assert np.isfinite(vectors).all()


def read_text_space(folder):
    """What takes texts to vectors."""
    from mmgr_jax.data.texts import TextSpace

    space = TextSpace.load(folder)
    assert np.isfinite(space.mean).all() and np.isfinite(space.components).all()
    assert len(space.project(np.ones((2, len(space.mean))))) == 2


def read_heads(folder):
    """Heads of another run, which predict."""
    from mmgr_jax.evaluation import kept_heads

    found = kept_heads.load(folder / "heads", "image", features={"weights": "a"})
    for predictor in found.predictors.values():
        assert np.isfinite(predictor.predict(np.ones((2, 6))).value).all()


def read_metrics(folder):
    """The rows of a run that goes on."""
    from mmgr_jax.train import metrics

    rows, _ = metrics._rows(folder / "metrics.jsonl")
    assert all(isinstance(row["step"], int) for row in rows)
