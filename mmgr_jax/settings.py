"""Sections of a config: frozen dataclasses that stand beside the code that reads them.

The fields of a `Section` are the keys of a part of the config, each with its type and
default; what they mean, and in which unit, stands in the class's docstring. `configs/`
composes sections into a ConfigDict (`parts.py`); `read` gives the dataclass back,
checked.

ml_collections, pydantic and annotated_types are loaded when a config is read, so a step
or a loss with settings of its own needs none of them. That is why modules of sections
import `annotated_types as at` for type checkers alone.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mmgr_jax.errors import InputError
from mmgr_jax.removed_settings import answer

if TYPE_CHECKING:
    pass

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
    hints = hints_of(chosen)
    values = {}
    for name, value in items:
        if name not in hints:
            raise InputError(unknown(key, name, hints))
        values[name] = read_value(hints[name], value, join(key, name))
    if missing := [name for name in _needed(chosen) if name not in values]:
        where = f"config.{key}" if key else "config"
        raise InputError(f"{where} lacks {', '.join(missing)}; give a value for each.")
    return chosen(**values)


def read_value(hint: Any, value: Any, key: str) -> Any:
    """A value as its annotation wants it; see `read`."""
    import pydantic
    from ml_collections import ConfigDict

    parts = typing.get_args(hint)
    if _is_section(hint):
        return read(hint, value, key)
    if any(map(_is_section, parts)):  # a section or None, or sections by name
        if typing.get_origin(hint) is Mapping:
            items = _items(value, key)
            return {name: read(parts[1], raw, join(key, name)) for name, raw in items}
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


def join(key: str, name: str) -> str:
    """The key of what is called `name` within `key`."""
    return f"{key}.{name}" if key else name


def _needed(kind: type) -> list[str]:
    """Fields without a default."""
    return [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is field.default_factory is dataclasses.MISSING
    ]


def unknown(key: str, name: str, allowed: Iterable[str]) -> str:
    """The sentence for a key that there is not, or no more."""
    if reply := answer(join(key, name)):
        return reply
    allowed = list(allowed)
    return (
        f"config.{join(key, name)} is unknown{nearest(name, allowed)}; allowed there: "
        f"{', '.join(allowed)}."
    )


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The nearest name as a question in brackets, or nothing where none is near."""
    near = difflib.get_close_matches(name, list(allowed), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _without_lists(value: Any) -> Any:
    """Sequences as tuples: JSON has lists in their place."""
    if isinstance(value, dict):
        return {name: _without_lists(part) for name, part in value.items()}
    return (
        tuple(map(_without_lists, value)) if isinstance(value, list | tuple) else value
    )


def _sentence(errors: list[Any], value: Any, hint: Any, key: str) -> str:
    """What pydantic found, as this program says it."""
    choices = []
    # Of elements that do not fit, too few are left as well: that says nothing.
    for error in [error for error in errors if error["type"] != "too_short"]:
        text = error.get("ctx", {}).get("expected") or error["msg"]
        if not text.startswith(("'", "Input should be ")):  # of a tuple's length
            text = str(hint).replace("typing.", "")
        choices.append(text.removeprefix("Input should be ").replace("valid ", ""))
    if not choices:
        choices.append("one or more")
    if type(None) in typing.get_args(hint):
        choices.append("None")
    allowed = " or ".join(dict.fromkeys(choices)).replace("a integer", "an integer")
    return f"config.{key}={value!r}; allowed: {allowed}."


@functools.cache
def hints_of(kind: type) -> Mapping[str, Any]:
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
