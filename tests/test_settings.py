"""Sections: what a config holds of them, and what is told where it does not fit."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import annotated_types as at
import pytest
from ml_collections import ConfigDict

from mmgr_jax import settings
from mmgr_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Inner(settings.Section):
    path: str | None = None
    count: Annotated[int, at.Ge(1)] = 3


@dataclasses.dataclass(frozen=True)
class Outer(settings.Section):
    temperature: Annotated[float, at.Gt(0)] = 0.5
    name: Literal["adam", "sgd"] = "adam"
    crop: tuple[float, float] = (0.2, 1.0)
    size: float | Literal["auto"] = 2000.0
    inner: Inner = Inner()
    encoder: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: {"name": "vit", "layers": (3, 6)}
    )
    paths: tuple[str, ...] = ()
    most: int | None = None
    maybe: Inner | None = None
    named: Mapping[str, Inner] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Needy(settings.Section):
    path: str
    outer: Outer = Outer()


def test_a_section_comes_back_from_a_config_and_from_json():
    config = settings.section(Outer(most=7))
    assert settings.read(Outer, config, "outer") == Outer(most=7)
    again = json.loads(json.dumps(config.to_dict()))
    assert settings.read(Outer, again, "outer") == Outer(most=7)
    assert settings.read(Outer, {}, "outer") == Outer()


def test_overrides_are_of_the_type_of_the_field():
    config = settings.section(Outer())
    config.lock()
    config.most = 3  # None waits for a number
    config.size = "auto"  # of several types, any
    config.inner.path = "a"
    config.temperature = 1
    with pytest.raises(TypeError):
        config.most = "many"
    with pytest.raises(AttributeError):
        config.temprature = 1.0
    read = settings.read(Outer, config, "outer")
    assert read == Outer(most=3, size="auto", inner=Inner(path="a"), temperature=1.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"temprature": 1.0},
            "outer.temprature is unknown (did you mean 'temperature'",
        ),
        ({"name": "adan"}, "config.outer.name='adan'; allowed: 'adam' or 'sgd'."),
        ({"temperature": -1.0}, "temperature=-1.0; allowed: greater than 0."),
        ({"temperature": "1"}, "temperature='1'; allowed: a number."),
        ({"temperature": float("nan")}, "temperature=nan; allowed: a finite number."),
        ({"inner": {"pth": "a"}}, "outer.inner.pth is unknown (did you mean 'path'"),
        (
            {"inner": {"count": 0}},
            "outer.inner.count=0; allowed: greater than or equal",
        ),
        ({"inner": 3}, "config.outer.inner=3; allowed: keys with values."),
        ({"crop": (0.5,)}, "outer.crop=(0.5,); allowed: tuple[float, float]."),
        ({"size": "large"}, "outer.size='large'; allowed: a number or 'auto'."),
        ({"most": 1.5}, "outer.most=1.5; allowed: an integer or None."),
        ({"most": True}, "outer.most=True; allowed: an integer or None."),
        ({"paths": "a.tif"}, "outer.paths='a.tif'; allowed: a tuple."),
    ],
)
def test_what_does_not_fit_is_told_by_key(change, told):
    given = settings.section(Outer()).to_dict() | change
    for part in (given, ConfigDict(given)):
        with pytest.raises(InputError) as error:
            settings.read(Outer, part, "outer")
        assert told in str(error.value) and str(error.value).endswith(".")


def test_sections_by_name_and_sections_that_may_be_none():
    config = settings.section(Outer(named={"a": Inner(count=4)}))
    assert settings.read(Outer, config, "outer") == Outer(named={"a": Inner(count=4)})
    given = {"maybe": {"path": "b"}, "named": {"c": {}}}
    read = settings.read(Outer, ConfigDict(given), "outer")
    assert read == Outer(maybe=Inner(path="b"), named={"c": Inner()})
    for wrong, told in (
        ({"maybe": {"count": 0}}, "config.outer.maybe.count=0; allowed: "),
        ({"named": {"c": {"pth": 1}}}, "config.outer.named.c.pth is unknown (did"),
        ({"named": 3}, "config.outer.named=3; allowed: keys with values."),
    ):
        with pytest.raises(InputError) as error:
            settings.read(Outer, wrong, "outer")
        assert told in str(error.value)


def test_what_has_no_default_is_needed():
    with pytest.raises(InputError, match=r"config.part lacks path; give a value each."):
        settings.read(Needy, {}, "part")
    with pytest.raises(InputError, match=r"config.outer.most='a'; allowed: "):
        settings.read(Needy, {"path": "a", "outer": {"most": "a"}})  # the whole config


def test_tuples_of_free_keys_stay_tuples():
    given = {"encoder": {"name": "vit", "layers": [3, 6]}}
    assert settings.read(Outer, given, "outer").encoder["layers"] == (3, 6)
