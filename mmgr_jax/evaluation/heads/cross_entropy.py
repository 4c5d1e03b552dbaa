"""The losses of many softmax regressions, computed together."""

from __future__ import annotations

import dataclasses

import numpy as np

from mmgr_jax.evaluation.heads import lbfgs


@dataclasses.dataclass(frozen=True)
class CrossEntropies:
    """Penalised cross entropies of j cells, for `lbfgs.minimise`.

    Attributes:
        z: Coordinates [j q n].
        target: Shares [j k n].
        mass: Sum of the shares, [j 1 n]: 1, and 0 for padding.
        penalty: Penalty strength of each coordinate, [q] or [j 1 q].
    """

    z: np.ndarray
    target: np.ndarray
    mass: np.ndarray
    penalty: np.ndarray

    def of(self, rows: np.ndarray) -> CrossEntropies:
        """Selects some cells."""
        penalty = self.penalty if self.penalty.ndim == 1 else self.penalty[rows]
        z, target, mass = (
            lbfgs.some(part, rows) for part in (self.z, self.target, self.mass)
        )
        return CrossEntropies(z, target, mass, penalty)

    def predict(self, weights: np.ndarray) -> np.ndarray:
        """Computes logits [j k n]."""
        return weights @ self.z

    def loss(
        self, logits: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes losses [j] and shares [j k n]; shares are 0 for padding."""
        largest = np.max(logits, axis=1, keepdims=True)
        shares = np.exp(logits - largest)
        sums = np.sum(shares, axis=1, keepdims=True)
        shares *= self.mass / sums
        fit = _dot(self.mass, largest + np.log(sums)) - _dot(self.target, logits)
        return fit + 0.5 * _dot(self.penalty * weights, weights), shares

    def gradient(self, shares: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Computes the gradient with respect to the weights [j k q]."""
        of_fit = (shares - self.target) @ self.z.swapaxes(1, 2)
        return of_fit + self.penalty * weights

    def bend(
        self, shares: np.ndarray, turn: np.ndarray, direction: np.ndarray
    ) -> np.ndarray:
        """Computes second derivatives [j] along a direction with logits `turn`."""
        centred = turn - np.sum(shares * turn, axis=1, keepdims=True)
        of_fit = _dot(shares * centred, centred)
        return of_fit + _dot(self.penalty * direction, direction)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums of products of each cell, [j]."""
    return np.vecdot(a.reshape(len(a), -1), b.reshape(len(b), -1))
