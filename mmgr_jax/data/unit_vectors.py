"""Scales vectors to length 1, so that their products are cosines."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def unit_rows(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Scales rows to length 1 and keeps their type; rows of zeros stay zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
