"""The settings of an evaluation: bounds, choices, and that there is what they name."""

import dataclasses
import typing

import pytest

from configs import common
from mmgr_jax import parts, settings
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import feature_sets
from mmgr_jax.evaluation import settings as eval_settings
from mmgr_jax.evaluation.features import baselines
from mmgr_jax.evaluation.heads import protocols


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("eval.features", ("pixels",), "'image', 'poi', 'both', 'all', 'image_proj"),
        ("eval.protocols", ("svm",), "'linear', 'mlp', 'released', 'knn' or 'finet"),
        ("eval.protocols", (), "one or more."),
        ("eval.splits", ("chequered",), "'block' or 'random'."),
        ("eval.splits", (), "one or more."),
        ("eval.baselines", ("random",), "'mean', 'coordinates', "),
        ("eval.baselines", ("imported weights",), "'mean', 'coordinates', "),
        ("eval.strengths", (0.0, 1.0), "greater than 0."),
        ("eval.strengths", (), "one or more."),
        ("eval.buffer_m", -1.0, "greater than or equal to 0 or None."),
        ("eval.tables", (("one",),), "tuple[tuple[str, str], ...]."),
        ("eval.certainty.level", 1.0, "less than 1."),
        ("eval.certainty.num_resamples", -1, "greater than or equal to 0."),
        ("eval.curves.num_labels", (5, 1), "greater than or equal to 2."),
        ("eval.curves.num_labels", (5.5,), "an integer."),
        ("eval.curves.fractions", (1.5,), "less than or equal to 1."),
        ("eval.finetune.batch_size", 0, "greater than or equal to 1."),
        ("readout.image", "other", "'pooled' or 'stages'."),
        ("readout.groups", "other", "'columns' or 'alike'."),
        ("embed.features", "pixels", "'image', 'poi', 'both', 'all', 'image_proj"),
        ("cpu_devices", 0, "greater than or equal to 1 or None."),
        ("after_training", ("evaluate",), "'eval' or 'embed'."),
    ],
)
def test_what_is_not_allowed_is_refused_where_it_is_given(key, value, told):
    """When it is set in a config, and when a section is read."""
    config = common.base("any", crs="EPSG:32633")
    *sections, name = key.split(".")
    part = config
    for section in sections:
        part = part[section]
    with pytest.raises(InputError) as error:
        part[name] = value
    start = f"config.{key}={value!r}; allowed: {told}"
    assert str(error.value).startswith(start), error.value
    given = part.to_dict() | {name: value}
    with pytest.raises(InputError) as error:
        settings.read(parts.kind_of(part), _own(part, given), ".".join(sections))
    assert str(error.value).startswith(start), error.value


def _own(part, given):
    return {
        field.name: given[field.name]
        for field in dataclasses.fields(parts.kind_of(part))
    }


def test_what_settings_name_is_there():
    assert set(typing.get_args(eval_settings.Kind)) == set(feature_sets.KINDS)
    assert set(feature_sets.ABOUT) == set(feature_sets.KINDS)
    assert set(typing.get_args(eval_settings.Baseline)) == set(baselines.BASELINES)
    named = set(typing.get_args(eval_settings.Protocol))
    assert named == {*protocols.PROTOCOLS, "finetune"}
