"""POI vectors fall back into category ids and a table, bit for bit."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int32, Int64


class Categories:
    """The distinct vectors met so far.

    Two vectors are the same when their bytes are: no number is compared, so nothing is
    lost, and 0 and -0 stay two numbers.
    """

    def __init__(self) -> None:
        """Starts without any."""
        self._dim: int | None = None
        self._id: dict[bytes, int] = {}
        self._counts: list[int] = []

    @property
    def dim(self) -> int | None:
        """Length d of a vector, None before the first one."""
        return self._dim

    def ids(self, vectors: Float32[np.ndarray, "n d"]) -> Int64[np.ndarray, " n"]:
        """A number for the vector of each POI, in the order they are first met."""
        if self._dim is None and len(vectors):
            self._dim = vectors.shape[1]
        found = np.empty(len(vectors), np.int64)
        for row, vector in enumerate(vectors):
            key = vector.tobytes()
            number = self._id.setdefault(key, len(self._id))
            if number == len(self._counts):
                self._counts.append(0)
            self._counts[number] += 1
            found[row] = number
        return found

    def ranked(
        self,
    ) -> tuple[Float32[np.ndarray, "k d"], Int32[np.ndarray, " k"]]:
        """The table of vectors, and the row in it of each number of `ids`.

        The most frequent vector comes first; of equally frequent ones the one whose
        bytes do. So the table does not depend on the order in which files are read.
        """
        vectors = list(self._id)
        order = sorted(
            range(len(vectors)),
            key=lambda number: (-self._counts[number], vectors[number]),
        )
        table = np.frombuffer(b"".join(vectors[number] for number in order), np.float32)
        row = np.empty(len(order), np.int32)
        row[order] = np.arange(len(order), dtype=np.int32)
        return table.reshape(len(order), self._dim or 0), row


def names(count: int) -> tuple[str, ...]:
    """Names for categories whose own ones are unknown: category_000, ..."""
    width = max(3, len(str(count - 1)))
    return tuple(f"category_{index:0{width}d}" for index in range(count))
