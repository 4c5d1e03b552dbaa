"""Sections of a config: frozen dataclasses that stand beside the code that reads them.

The fields of a `Section` are the keys of a part of the config, each with its type and
default; what they mean, and in which unit, stands in the class's docstring. `configs/`
composes sections into a ConfigDict; `read` gives the dataclass back, checked.

ml_collections, pydantic and annotated_types are loaded when a config is composed or
read, so a step or a loss with settings of its own needs none of them. That is why
modules of sections import `annotated_types as at` for type checkers alone.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mmgr_jax.errors import InputError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

S = TypeVar("S", bound="Section")

FloatName = Literal["float32", "bfloat16"]
"""In which numbers something is computed."""


class Section:
    """Base of the sections.

    Types are checked strictly by pydantic: `Literal` for choices, `Annotated` with
    `annotated_types` for bounds, another Section for a part with keys of its own, and
    `Mapping[str, Any]` where the keys are somebody else's.
    """

    @classmethod
    def kind_for(cls, given: Any) -> type[Section]:
        """The section that keys are of; another than this where a key decides it."""
        del given
        return cls


def section(settings: Section) -> ConfigDict:
    """The part of a config that holds these settings.

    What is None waits for a value of its type, so that the command line and files can
    give one; what may be of several types takes each of them.
    """
    from ml_collections import ConfigDict

    return ConfigDict(
        {
            name: _as_value(getattr(settings, name), hint)
            for name, hint in _hints(type(settings)).items()
        }
    )


def read(kind: type[S], given: Any, key: str = "") -> S:
    """The settings that a part of a config holds; keys it lacks have their defaults.

    Args:
        kind: The dataclass.
        given: The part: a ConfigDict, or a mapping as JSON gives it back.
        key: Where it stands in the config, such as "data", for messages; "": it is the
            whole config.

    Raises:
        InputError: For the first key that is unknown, of another type, or none of the
            values allowed; or if one without a default is missing.
    """
    items = _items(given, key)
    chosen: Any = kind.kind_for(given)
    hints = _hints(chosen)
    values = {}
    for name, value in items:
        if name not in hints:
            raise InputError(
                f"config.{_join(key, name)} is unknown{nearest(name, hints)}; allowed "
                f"there: {', '.join(hints)}."
            )
        values[name] = _read(hints[name], value, _join(key, name))
    if missing := [name for name in _needed(chosen) if name not in values]:
        where = f"config.{key}" if key else "config"
        raise InputError(f"{where} lacks {', '.join(missing)}; give a value each.")
    return chosen(**values)


def _read(hint: Any, value: Any, key: str) -> Any:
    import pydantic
    from ml_collections import ConfigDict

    parts = typing.get_args(hint)
    if _is_section(hint):
        return read(hint, value, key)
    if any(map(_is_section, parts)):  # a section or None, or sections by name
        if typing.get_origin(hint) is Mapping:
            items = _items(value, key)
            return {name: read(parts[1], of, _join(key, name)) for name, of in items}
        return None if value is None else read(parts[0], value, key)
    plain = value.to_dict() if isinstance(value, ConfigDict) else value
    try:
        return _adapter(hint).validate_python(_without_lists(plain), strict=True)
    except pydantic.ValidationError as error:
        raise InputError(_sentence(error.errors(), value, hint, key)) from error


def _items(given: Any, key: str) -> Iterable[tuple[str, Any]]:
    from ml_collections import ConfigDict

    if not isinstance(given, Mapping | ConfigDict):
        raise InputError(f"config.{key}={given!r}; allowed: keys with values.")
    return given.items()


def _is_section(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Section)


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _needed(kind: type) -> list[str]:
    """Fields without a default."""
    return [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is field.default_factory is dataclasses.MISSING
    ]


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The nearest name as a question in brackets, or nothing where none is near."""
    near = difflib.get_close_matches(name, list(allowed), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _as_value(value: Any, hint: Any) -> Any:
    from ml_collections import ConfigDict, FieldReference
    from ml_collections.config_dict import placeholder

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
    for error in errors:
        text = error.get("ctx", {}).get("expected") or error["msg"]
        if not text.startswith(("'", "Input should be ")):  # of a tuple's length
            text = str(hint).replace("typing.", "")
        said.append(text.removeprefix("Input should be ").replace("valid ", ""))
    if type(None) in typing.get_args(hint):
        said.append("None")
    allowed = " or ".join(dict.fromkeys(said)).replace("a integer", "an integer")
    return f"config.{key}={value!r}; allowed: {allowed}."


@functools.cache
def _hints(kind: type) -> Mapping[str, Any]:
    """Name -> annotation of the fields of a section, in their order."""
    import annotated_types

    # Modules of sections do not import it themselves: see above.
    hints = typing.get_type_hints(
        kind, localns={"at": annotated_types}, include_extras=True
    )
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@functools.cache
def _adapter(hint: Any) -> Any:
    import pydantic

    return pydantic.TypeAdapter(hint, config=pydantic.ConfigDict(allow_inf_nan=False))
