"""Sections of a config: frozen dataclasses that stand beside the code that reads them.

The fields of a `Section` are the keys of a part of the config, each with its type and
default; what they mean, and in which unit, stands in the class's docstring. `configs/`
composes sections into a ConfigDict; `read` gives the dataclass back, checked.

A section in a config checks what it is given as well, so that a wrong setting is told
at the line of the file, or with the flag, that gives it.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder

from mmgr_jax.errors import InputError

S = TypeVar("S", bound="Section")


class Section:
    """Base of the sections.

    Types are checked strictly by pydantic: `Literal` for choices, `Annotated` with
    `annotated_types` for bounds, another Section for a part with keys of its own, and
    `Mapping[str, Any]` where the keys are somebody else's.
    """


class Part(ConfigDict):
    """The part of a config that holds a section, and checks what it is given.

    Locked, it takes no new keys, nor does any section in it; what is somebody else's in
    it (`Mapping[str, Any]`, plain ConfigDicts) stays open.
    """

    # No name without a line before it: it would hide a setting of that name.
    _kind: type[Section] | None = None  # what it holds; None: nobody knows
    _key: str = ""  # where it stands in the config; the whole has none
    _may_come: tuple[str, ...] = ()  # keys that are taken though it is locked

    def __setitem__(self, key: str, value: Any) -> None:
        """Sets a value that fits.

        Raises:
            InputError: If the key is unknown and this is locked, or the value is of
                another type, or none of those allowed.
        """
        super().__setitem__(key, self._fitting(key, value))
        if isinstance(part := self[key], Part):
            part._place(_join(self._key, key))

    def _fitting(self, key: str, value: Any) -> Any:
        """The value as it is to be stored."""
        where = _join(self._key, key)
        if key in self._may_come:
            self._fields.setdefault(key, None)
        if key not in self and self.is_locked:
            raise InputError(_unknown(self._key, key, self))
        current = self[key] if key in self else None
        if isinstance(current, Part) and current._kind and value is not current:
            part = section(read(current._kind, value, where))
            return part.lock() if current.is_locked else part
        hint = _hints(self._kind).get(key) if self._kind else None
        if key in self and hint is not None and not isinstance(value, FieldReference):
            _read(hint, value, where)
        return ConfigDict(value) if isinstance(value, dict) else value

    def __getitem__(self, key: str) -> Any:
        """A value; of a key that is unknown, KeyError with the nearest."""
        if isinstance(key, str) and "." not in key and key not in self:
            raise KeyError(_unknown(self._key, key, self))
        return super().__getitem__(key)

    def lock(self) -> Part:
        """Takes no new keys from now on, and its sections neither."""
        object.__setattr__(self, "_locked", True)
        for part in self.values():
            if isinstance(part, Part):
                part.lock()
        return self

    def _place(self, key: str) -> None:
        object.__setattr__(self, "_key", key)
        for name, part in self.items():
            if isinstance(part, Part):
                part._place(_join(key, name))

    def _as(self, other: Mapping[str, Any]) -> None:
        """Takes over what another of the same content knows of itself."""
        for name in ("_kind", "_key", "_may_come"):
            if name in other:
                object.__setattr__(self, name, other[name])

    def copy_and_resolve_references(self, visit_map: Any = None) -> Part:
        """A copy."""
        copy = super().copy_and_resolve_references(visit_map)
        copy._as(vars(self))
        return copy

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Comes back from a pickle, or as a copy."""
        super().__setstate__(state)
        self._as(state)


def section(settings: Section) -> Part:
    """The part of a config that holds these settings.

    What is None waits for a value of its type, so that the command line and files can
    give one; what may be of several types takes each of them.
    """
    part = Part(
        {
            name: _as_value(getattr(settings, name), hint)
            for name, hint in _hints(type(settings)).items()
        }
    )
    part._as({"_kind": type(settings)})
    part._place("")
    return part


def kind_of(part: Any) -> type[Section] | None:
    """The section that a part of a config holds; None where that is not known."""
    return part._kind if isinstance(part, Part) else None


def seal(config: Part, may_come: tuple[str, ...] = ()) -> Part:
    """Locks a whole config: wrong keys are told where they are written.

    Args:
        config: The config.
        may_come: Keys at the top that may be added all the same.
    """
    config._as({"_may_come": may_come})
    return config.lock()


def check(config: ConfigDict) -> None:
    """Reads every section of a config once.

    What was set through a reference, or before the config was made of sections, is
    checked by nothing else before it is used.

    Raises:
        InputError: For the first setting that does not fit.
    """
    if kind := kind_of(config):
        own = _hints(kind)
        read(kind, {name: of for name, of in config.items() if name in own}, "")
    for name, part in config.items():
        if kind := kind_of(part):
            read(kind, part, name)


def read(kind: type[S], given: Any, key: str) -> S:
    """The settings that a part of a config holds; keys it lacks have their defaults.

    Args:
        kind: The dataclass.
        given: The part: a ConfigDict, or a mapping as JSON gives it back.
        key: Where it stands in the config, such as "data"; for messages.

    Raises:
        InputError: For the first key that is unknown, of another type, or none of the
            values allowed.
    """
    if not isinstance(given, Mapping | ConfigDict):
        raise InputError(f"config.{key}={given!r}; allowed: keys with values.")
    hints = _hints(kind)
    values = {}
    for name, value in given.items():
        if name not in hints:
            raise InputError(_unknown(key, name, hints))
        values[name] = _read(hints[name], value, _join(key, name))
    for field in dataclasses.fields(kind):
        if field.name not in values and _has_no_default(field):
            raise InputError(f"config.{_join(key, field.name)} is missing: give one.")
    return kind(**values)


def _has_no_default(field: dataclasses.Field) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _unknown(key: str, name: str, allowed: Iterable[str]) -> str:
    return (
        f"config.{_join(key, name)} is unknown{nearest(name, allowed)}; allowed there: "
        f"{', '.join(allowed)}."
    )


def _read(hint: Any, value: Any, key: str) -> Any:
    import pydantic

    if isinstance(hint, type) and issubclass(hint, Section):
        return read(hint, value, key)
    plain = value.to_dict() if isinstance(value, ConfigDict) else value
    try:
        return _adapter(hint).validate_python(_without_lists(plain), strict=True)
    except pydantic.ValidationError as error:
        raise InputError(_sentence(error.errors(), value, hint, key)) from error


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The nearest name as a question in brackets, or nothing where none is near."""
    near = difflib.get_close_matches(name, list(allowed), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _as_value(value: Any, hint: Any) -> Any:
    if isinstance(value, Section):
        return section(value)
    if isinstance(value, Mapping):
        return ConfigDict({name: _as_value(of, Any) for name, of in value.items()})
    kinds = _kinds(hint)
    if value is None:
        return placeholder(kinds[0] if len(kinds) == 1 else object)
    return value if len(kinds) == 1 else FieldReference(value, field_type=object)


def _kinds(hint: Any) -> tuple[type, ...]:
    """The plain types of an annotation, None left out."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _kinds(typing.get_args(hint)[0])
    if origin is typing.Literal:
        return tuple({type(value) for value in typing.get_args(hint)})
    if origin in (typing.Union, types.UnionType):
        parts = (_kinds(of) for of in typing.get_args(hint) if of is not type(None))
        return tuple(dict.fromkeys(kind for kinds in parts for kind in kinds))
    if hint is Any:
        return (object,)
    return (origin or hint,)


def _without_lists(value: Any) -> Any:
    """Sequences as tuples: JSON has lists in their place."""
    if isinstance(value, dict):
        return {name: _without_lists(of) for name, of in value.items()}
    return (
        tuple(map(_without_lists, value)) if isinstance(value, list | tuple) else value
    )


def _sentence(errors: list[Any], value: Any, hint: Any, key: str) -> str:
    """What pydantic found, as this program says it."""
    said = []
    # Of elements that do not fit, too few are left as well: that says nothing.
    for error in [of for of in errors if of["type"] != "too_short"]:
        text = error.get("ctx", {}).get("expected") or error["msg"]
        if not text.startswith(("'", "Input should be ")):  # of a tuple's length
            text = str(hint).replace("typing.", "")
        said.append(text.removeprefix("Input should be ").replace("valid ", ""))
    if not said:
        said.append("one or more")
    if type(None) in typing.get_args(hint):
        said.append("None")
    allowed = " or ".join(dict.fromkeys(said)).replace("a integer", "an integer")
    return f"config.{key}={value!r}; allowed: {allowed}."


@functools.cache
def _hints(kind: type) -> Mapping[str, Any]:
    """Name -> annotation of the fields of a section, in their order."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@functools.cache
def _adapter(hint: Any) -> Any:
    import pydantic

    return pydantic.TypeAdapter(hint, config=pydantic.ConfigDict(allow_inf_nan=False))
