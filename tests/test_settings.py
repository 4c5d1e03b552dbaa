"""Sections: what a config holds of them, and what is told where it does not fit."""

import copy
import dataclasses
import json
import pickle
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import annotated_types as at
import pytest
from ml_collections import ConfigDict

from mmgr_jax import parts, settings
from mmgr_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Inner(settings.Section):
    kind: str = "file"  # what a part of a config could call a thing of its own
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
    config = parts.section(Outer(most=7))
    assert settings.read(Outer, config, "outer") == Outer(most=7)
    again = json.loads(json.dumps(config.to_dict()))
    assert settings.read(Outer, again, "outer") == Outer(most=7)
    assert settings.read(Outer, {}, "outer") == Outer()


def test_overrides_are_of_the_type_of_the_field():
    config = parts.section(Outer())
    config.lock()
    config.most = 3  # None waits for a number
    config.size = "auto"  # of several types, any
    config.inner.path, config.inner.kind = "a", "table"
    config.temperature = 1
    with pytest.raises(InputError, match="config.most='many'; allowed: an"):
        config.most = "many"
    with pytest.raises(InputError, match="temprature is unknown .did you mean 'temper"):
        config.temprature = 1.0
    read = settings.read(Outer, config, "outer")
    assert read == Outer(
        most=3, size="auto", inner=Inner("table", "a"), temperature=1.0
    )
    assert config.inner.kind == "table"


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
    given = parts.section(Outer()).to_dict() | change
    for part in (given, ConfigDict(given)):
        with pytest.raises(InputError) as error:
            settings.read(Outer, part, "outer")
        assert told in str(error.value) and str(error.value).endswith(".")


def test_sections_by_name_and_sections_that_may_be_none():
    config = parts.section(Outer(named={"a": Inner(count=4)}))
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
    with pytest.raises(
        InputError, match=r"config.part lacks path; give a value for each."
    ):
        settings.read(Needy, {}, "part")
    with pytest.raises(InputError, match=r"config.outer.most='a'; allowed: "):
        settings.read(Needy, {"path": "a", "outer": {"most": "a"}})  # the whole config


def test_tuples_of_free_keys_stay_tuples():
    given = {"encoder": {"name": "vit", "layers": [3, 6]}}
    assert settings.read(Outer, given, "outer").encoder["layers"] == (3, 6)


@pytest.fixture
def config():
    """A whole config: settings at the top, a section, a free part."""
    config = parts.section(Outer())
    config.more = parts.section(Outer())
    config.labels = ConfigDict()
    return parts.seal(config, may_come=("study",))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.__setattr__("nme", 3), "config.nme is unknown (did you mean 'nam"),
        (
            lambda c: c.more.inner.__setattr__("cont", 3),
            "config.more.inner.cont is unknown (did you mean 'count'?)",
        ),
        (lambda c: c.more.update(nme="sgd"), "config.more.nme is unknown (did you me"),
        (
            lambda c: c.more.update(inner=dict(count=0)),
            "config.more.inner.count=0; allowed: greater than or equal to 1.",
        ),
        (
            lambda c: c.more.__setattr__("inner", dict(cont=3)),
            "config.more.inner.cont is unknown (did you mean 'count'?)",
        ),
        (lambda c: c.__setattr__("more", 3), "config.more=3; allowed: keys with valu"),
        (lambda c: c.more.__setattr__("name", "adan"), "config.more.name='adan'; allo"),
    ],
)
def test_a_config_refuses_what_does_not_fit_where_it_is_set(config, change, told):
    copies = (
        config,
        config.copy_and_resolve_references(),
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
    )
    for one in copies:
        with pytest.raises(InputError) as error:
            change(one)
        assert str(error.value).startswith(told)


def test_an_unknown_key_that_is_read_is_told_with_the_nearest(config):
    assert not hasattr(config.more, "nme") and config.more.get("nme", 5) == 5
    with pytest.raises(AttributeError, match="config.more.nme is unknown .did you mea"):
        _ = config.more.nme
    with pytest.raises(KeyError, match="config.more.nme is unknown .did you mean 'na"):
        _ = config.more["nme"]


def test_free_parts_and_keys_that_may_come_are_open(config):
    config.labels.people = dict(path="a")
    config.labels.people.more = 1
    config.encoder = dict(name="resnet", width=3)
    config.encoder.stem = "conv"
    config.study = dict(seeds=(0, 1))
    config.study.of = 3
    with config.unlocked():
        config.another = 1
    config.labels.others = dict(path="b")
    with pytest.raises(InputError):
        config.yet_another = 1


def test_a_part_replaced_by_some_of_its_keys_has_the_defaults_of_the_rest(config):
    config.more = dict(temperature=2, inner=dict(path="a"))
    assert settings.read(Outer, config.more, "more") == Outer(
        temperature=2.0, inner=Inner(path="a")
    )
    with pytest.raises(InputError, match="config.more.inner.pth is unknown"):
        config.more.inner.pth = "b"


def test_a_value_behind_a_reference_is_found_by_the_check(config):
    parts.check(config)
    config.more.get_ref("name").set("adan", False)
    with pytest.raises(InputError, match="config.more.name='adan'; allowed: 'adam' or"):
        parts.check(config)


def test_a_setting_without_a_default_must_be_there():
    @dataclasses.dataclass(frozen=True)
    class Named(settings.Section):
        name: str

    with pytest.raises(
        InputError, match="config.city lacks name; give a value for each"
    ):
        settings.read(Named, {}, "city")
