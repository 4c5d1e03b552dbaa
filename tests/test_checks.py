"""Annotations are checked at every call, of functions made again and again too."""

import beartype
import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError, jaxtyped

from mmgr_jax import terminal

checked = jaxtyped(typechecker=beartype.beartype)


def _made(scale, kind=int):
    @checked
    def scaled(
        values: Float[np.ndarray, " n"], by: kind = scale
    ) -> Float[np.ndarray, " n"]:
        return values[:by] if isinstance(by, int) else values * by[0]

    return scaled


def test_each_function_is_checked_and_is_itself():
    values = np.ones(3)
    two, three = _made(2), _made(3)
    assert three(values).shape == (3,)
    with pytest.raises(TypeCheckError, match="return value"):
        two(values)  # two of n values
    assert two(values[:2]).shape == (2,)
    for made in (two, three, _made(2)):
        with pytest.raises(TypeCheckError, match="type-checking the parameters|param"):
            made(values, "2")
        with pytest.raises(TypeCheckError, match="param"):
            made(values.astype(int))


def test_another_annotation_under_the_same_name_is_another():
    _made(1)(np.ones(1))
    listed = _made([2.0], list)
    np.testing.assert_array_equal(listed(np.ones(2)), [2, 2])
    with pytest.raises(TypeCheckError, match="param"):
        listed(np.ones(2), 2)


def test_a_name_that_comes_later_is_checked_from_then_on(monkeypatch):
    def made():
        def later(value: "Later") -> None:  # noqa: F821
            del value

        return checked(later)

    made()("anything")
    monkeypatch.setitem(globals(), "Later", int)
    made()(1)
    with pytest.raises(TypeCheckError, match="param"):
        made()("anything")


def test_our_packages_are_checked():
    with pytest.raises(TypeCheckError, match="param"):
        terminal.visible(3)
