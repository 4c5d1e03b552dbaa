"""The parts of a config: each checks the values that are set in it.

An error about a wrong setting names the line of the file, or the flag, that sets it.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder

from mmgr_jax.errors import InputError
from mmgr_jax.settings import Section, hints_of, join, read, read_value, unknown


class Part(ConfigDict):
    """The part of a config that holds a section and checks values that are set.

    When it is locked, it and its sections take no new keys. Two kinds of parts stay
    open: `Mapping[str, Any]`, whose keys are not ours, and parts that hold sections
    under names that the user chooses.
    """

    # No name without a line before it: it would hide a setting of that name.
    _kind: type[Section] | None = None  # what it holds; None: nobody knows
    _key: str = ""  # where it stands in the config; the whole has none
    _may_come: tuple[str, ...] = ()  # keys that are taken though it is locked

    def __setitem__(self, key: str, value: Any) -> None:
        """Sets a value, if it fits.

        Raises:
            InputError: If the key is unknown and this part is locked, if the value has
                another type, or if it is not one of those allowed.
        """
        super().__setitem__(key, self._fitting(key, value))
        if isinstance(part := self[key], Part):
            part._place(join(self._key, key))

    def _fitting(self, key: str, value: Any) -> Any:
        """The value in the form in which it is stored."""
        where = join(self._key, key)
        hints = self._hints({**self._fields, key: value})
        if key in self._may_come or key in hints:
            self._fields.setdefault(key, None)
        if key not in self and self.is_locked:
            raise InputError(unknown(self._key, key, {**self._fields, **hints}))
        current = self[key] if key in self else None
        if isinstance(current, Part) and current._kind and value is not current:
            part = section(read(current._kind, value, where))
            return part.lock() if current.is_locked else part
        if key in hints and not isinstance(value, FieldReference):
            read_value(hints[key], value, where)
        return ConfigDict(value) if isinstance(value, dict) else value

    def _hints(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The keys that belong here, and the types of their values."""
        return hints_of(self._kind.kind_for(given)) if self._kind else {}

    def __getitem__(self, key: str) -> Any:
        """A value. For an unknown key the KeyError names the most similar key."""
        if isinstance(key, str) and "." not in key and key not in self:
            raise KeyError(unknown(self._key, key, self))
        return super().__getitem__(key)

    def lock(self) -> Part:
        """Locks this part and its sections: they take no new keys from now on."""
        object.__setattr__(self, "_locked", True)
        for part in self.values():
            if kind_of(part):
                part.lock()
        return self

    def _place(self, key: str) -> None:
        object.__setattr__(self, "_key", key)
        for name, part in self.items():
            if isinstance(part, Part):
                part._place(join(key, name))

    def _as(self, other: Mapping[str, Any]) -> None:
        """Takes over the section and other facts from a part with the same content."""
        for name in ("_kind", "_key", "_may_come"):
            if name in other:
                object.__setattr__(self, name, other[name])

    def copy_and_resolve_references(self, visit_map: Any = None) -> Part:
        """A copy."""
        copy = super().copy_and_resolve_references(visit_map)
        copy._as(vars(self))
        return copy

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores this part from a pickle or a copy."""
        super().__setstate__(state)
        self._as(state)


def section(settings: Section) -> Part:
    """Makes the part of a config that holds these settings.

    A setting that is None accepts a value of its type from the command line or a file.
    A setting with several types accepts each of them.
    """
    part = Part(
        {
            name: _as_value(getattr(settings, name), hint)
            for name, hint in hints_of(type(settings)).items()
        }
    )
    part._as({"_kind": type(settings)})
    part._place("")
    return part


def kind_of(part: Any) -> type[Section] | None:
    """The kind of section that a part of a config holds; None if it is not known."""
    return part._kind if isinstance(part, Part) else None


def seal(config: Part, may_come: tuple[str, ...] = ()) -> Part:
    """Locks a whole config, so that a wrong key is reported where it is written.

    Args:
        config: The config.
        may_come: Keys at the top level that may still be added.
    """
    config._as({"_may_come": may_come})
    return config.lock()


def check(config: ConfigDict) -> None:
    """Reads every section of a config once.

    Values that were set through a reference, or before the config had sections, are not
    checked anywhere else before they are used.

    Raises:
        InputError: For the first setting that does not fit.
    """
    if kind := kind_of(config):
        own = hints_of(kind)
        read(kind, {name: part for name, part in config.items() if name in own}, "")
    for name, part in config.items():
        if kind := kind_of(part):
            read(kind, part, name)


def _as_value(value: Any, hint: Any) -> Any:
    if isinstance(value, Section):
        return section(value)
    if isinstance(value, Mapping):
        return ConfigDict({name: _as_value(part, Any) for name, part in value.items()})
    kinds = _kinds(hint)
    if value is None:
        return placeholder(kinds[0] if len(kinds) == 1 else object)
    return value if len(kinds) == 1 else FieldReference(value, field_type=object)


def _kinds(hint: Any) -> tuple[type, ...]:
    """The plain types of an annotation, without None."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _kinds(typing.get_args(hint)[0])
    if origin is typing.Literal:
        return tuple({type(value) for value in typing.get_args(hint)})
    if origin in (typing.Union, types.UnionType):
        parts = (_kinds(arg) for arg in typing.get_args(hint) if arg is not type(None))
        return tuple(dict.fromkeys(kind for kinds in parts for kind in kinds))
    if hint is Any:
        return (object,)
    return (origin or hint,)
