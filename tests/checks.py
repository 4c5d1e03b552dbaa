"""Checks the annotations of our packages at every call, by jaxtyping and beartype.

What jaxtyping does for it, done later and less often: a function gets its checks when
it is called for the first time (most are not, in one file of tests), a function within
another does not get new ones each time it is made, and a call whose arguments fit pays
for no message about them.
"""

import functools
import inspect
import types
import typing
from importlib.machinery import SourceFileLoader
from unittest import mock

import jaxtyping
from jaxtyping import AnnotationError, TypeCheckError, _decorator, _import_hook
from jaxtyping._storage import pop_shape_memo, push_shape_memo

_whole = _decorator.jaxtyped


def install(packages):
    """From now on, what is imported of `packages` is checked."""
    _import_hook._JaxtypingLoader = _Loader
    _decorator._make_fn_with_signature = _remembered(_decorator._make_fn_with_signature)
    _decorator._apply_typechecker = _remembered(_decorator._apply_typechecker)
    _decorator._destring_annotation = _evaluated(_decorator._destring_annotation)
    _decorator.jaxtyped = jaxtyping.jaxtyped = _checked
    jaxtyping.install_import_hook(packages, "beartype.beartype")


def _checked(function=_decorator._sentinel, *, typechecker=_decorator._sentinel):
    """As `jaxtyping.jaxtyped`; of what is a plain function, later."""
    if function is _decorator._sentinel and typechecker is not _decorator._sentinel:
        return functools.partial(_checked, typechecker=typechecker)
    plain = isinstance(function, types.FunctionType)
    if not plain or typechecker in (None, _decorator._sentinel):
        return _whole(function, typechecker=typechecker)
    made = []

    @functools.wraps(function)
    def call(*arguments, **named):
        __tracebackhide__ = True
        if not made:
            made.append(_quick(_whole(function, typechecker=typechecker)))
        return made[0](*arguments, **named)

    return call


def _quick(whole):
    """The same checks; `whole` is asked where arguments do not fit, for its message."""
    parts = inspect.getclosurevars(whole).nonlocals
    parts |= inspect.getclosurevars(parts["wrapped_fn_impl"]).nonlocals
    if "{" in str(parts["full_signature"]):  # an axis that an argument names
        return whole
    function, arguments_fit, all_fits, output = (
        parts[name] for name in ("fn", "param_fn", "full_fn", "output_name")
    )
    returns = parts["full_signature"].return_annotation is not inspect.Signature.empty

    def call(*arguments, **named):
        __tracebackhide__ = True
        push_shape_memo({})
        try:
            try:
                arguments_fit(*arguments, **named)
            except Exception:
                fits = False
            else:
                fits = True
            if fits:
                result = function(*arguments, **named)
                if returns:
                    _check_result(all_fits, arguments, named | {output: result}, whole)
                return result
        finally:
            pop_shape_memo()
        return whole(*arguments, **named)

    return call


def _check_result(all_fits, arguments, named, function):
    try:
        all_fits(*arguments, **named)
    except AnnotationError:
        raise
    except Exception as error:
        raise TypeCheckError(
            "Type-check error whilst checking the return value of "
            f"{function.__module__}.{function.__qualname__}: {error}"
        ) from error


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
