"""Vectors of length 1; the dot product of two of them is a cosine."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def unit_rows(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows scaled to length 1, of the same type; rows of zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
