"""Checks the annotations of our packages at every call, by jaxtyping and beartype.

What jaxtyping does for it, done less often: a function within another was given new
checks each time it was made, which took 2 ms, and a third of the time of some tests.
"""

import functools
import typing
from importlib.machinery import SourceFileLoader
from unittest import mock

from jaxtyping import _decorator, _import_hook, install_import_hook


def install(packages):
    """From now on, what is imported of `packages` is checked."""
    _import_hook._JaxtypingLoader = _Loader
    _decorator._make_fn_with_signature = _remembered(_decorator._make_fn_with_signature)
    _decorator._apply_typechecker = _remembered(_decorator._apply_typechecker)
    _decorator._destring_annotation = _evaluated(_decorator._destring_annotation)
    install_import_hook(packages, "beartype.beartype")


class _Loader(_import_hook._JaxtypingLoader):
    """Keeps bytecode apart for the module it loads, not for all that one imports.

    So that libraries are not compiled once more for the tests.
    """

    def get_code(self, fullname):
        name = functools.partial(
            _import_hook._optimized_cache_from_source, self._typechecker.get_hash()
        )
        with mock.patch("importlib._bootstrap_external.cache_from_source", name):
            return super().get_code(fullname)

    exec_module = SourceFileLoader.exec_module


def _remembered(function):
    """What it makes depends on its arguments alone: a name and a signature, or both."""
    remembered = functools.lru_cache(maxsize=None, typed=True)(function)

    @functools.wraps(function)
    def call(*arguments, **named):
        try:
            hash((arguments, tuple(named.items())))
        except TypeError:  # an array is a default of the signature
            return function(*arguments, **named)
        return remembered(*arguments, **named)

    return call


def _evaluated(function):
    """What an annotation means in a module; one unknown may be known at the next."""
    kept = {}

    def call(annotation, names):
        key = annotation, names.get("__name__")
        try:
            if key in kept:
                return kept[key]
        except TypeError:  # no hash
            return function(annotation, names)
        meaning = function(annotation, names)
        if meaning is not typing.Any:
            kept[key] = meaning
        return meaning

    return call
