"""The POI sets of the released sample: vectors and edges as torch saved them."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, Int64

from data_prep.import_released.categories import Categories
from data_prep.import_released.faults import Faults
from data_prep.pois import graph
from data_prep.running import progress
from mmgr_jax.errors import InputError

_VECTORS = "config.released.vector_dir"
_EDGES = "config.released.edge_dir"


@dataclasses.dataclass(frozen=True)
class PoiSets:
    """The POIs of every region.

    Attributes:
        category: Region -> category of each of its POIs [n].
        edges: Region -> pairs of POIs i < j, sorted, each once [e 2].
        vectors: Vector of each category [k d].
        dropped: Number of edges left out, by reason.
    """

    category: Mapping[str, Int32[np.ndarray, " _"]]
    edges: Mapping[str, Int32[np.ndarray, "_ 2"]]
    vectors: Float32[np.ndarray, "k d"]
    dropped: dict[str, int]


def read(
    vectors: Mapping[str, Path], edges: Mapping[str, Path], faults: Faults
) -> PoiSets:
    """The POI set of each region.

    A tensor without elements is an empty set, whatever its shape and type: that is how
    a region without POIs may come.

    Args:
        vectors: Region -> its tensor float32 [n d].
        edges: Region -> its tensor of integers [2 e]; the same regions.
        faults: Takes note of all that is wrong.

    Returns:
        The sets.

    Raises:
        InputError: If PyTorch is not installed.
    """
    load, categories = _loader(), Categories()
    number, pairs = {}, {}
    dropped = {"second directions and repeats": 0, "loops": 0}
    regions = progress.track(vectors, "POI sets read", len(vectors))
    for region in regions:
        rows = _vectors(load, vectors[region], categories.dim, faults)
        found = _pairs(load, edges[region], None if rows is None else len(rows), faults)
        if rows is None or found is None:
            continue
        number[region] = categories.ids(rows)
        loops = found[:, 0] == found[:, 1]
        pairs[region] = graph.sorted_once(found[~loops], len(rows))
        dropped["loops"] += int(loops.sum())
        repeats = int((~loops).sum()) - len(pairs[region])
        dropped["second directions and repeats"] += repeats
    table, row = categories.ranked()
    category = {region: row[numbers] for region, numbers in number.items()}
    if not len(table):
        faults.add(f"{_VECTORS}: no region has a POI")
    return PoiSets(category, pairs, table, dropped)


def _loader() -> Callable[[Path], Any]:
    try:
        import torch
    except ImportError as error:
        raise InputError(
            "the released .tensor files are PyTorch's, which is not installed: "
            "`pip install -r requirements-convert.txt`. The records need it no more."
        ) from error

    def load(path: Path) -> Any:
        found = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(found, torch.Tensor):
            raise ValueError(f"holds a {type(found).__name__}, not a tensor")
        return found.detach()

    return load


def _vectors(
    load: Callable[[Path], Any], path: Path, dim: int | None, faults: Faults
) -> Float32[np.ndarray, "n d"] | None:
    """The vectors of one region, None where the file is unfit."""
    tensor = _load(load, path, _VECTORS, faults)
    if tensor is None:
        return None
    if not tensor.numel():
        return np.zeros((0, dim or 0), np.float32)
    shape, kind = tuple(tensor.shape), str(tensor.dtype)
    if kind != "torch.float32" or len(shape) != 2 or shape[1] != (dim or shape[1]):
        wanted = f"[n {dim}]" if dim else "[n d]"
        faults.add(
            f"{_VECTORS}: not a tensor torch.float32 {wanted}, one row a POI",
            f"{path.name}: {kind} {list(shape)}",
        )
        return None
    rows = np.ascontiguousarray(tensor.numpy())
    wrong = int((~np.isfinite(rows)).any(axis=1).sum())
    if wrong:
        faults.add(
            f"{_VECTORS}: numbers that are not finite",
            f"{path.name}: {wrong} of {len(rows)} rows",
        )
        return None
    return rows


def _pairs(
    load: Callable[[Path], Any], path: Path, n: int | None, faults: Faults
) -> Int64[np.ndarray, "m 2"] | None:
    """The edges of one region as they are stored, None where the file is unfit.

    Without the number of POIs n nothing is said of the POIs they join.
    """
    tensor = _load(load, path, _EDGES, faults)
    if tensor is None:
        return None
    if not tensor.numel():
        return np.zeros((0, 2), np.int64)
    shape, kind = tuple(tensor.shape), str(tensor.dtype)
    if kind not in ("torch.int64", "torch.int32") or len(shape) != 2 or shape[0] != 2:
        faults.add(
            f"{_EDGES}: not a tensor torch.int64 [2 e], one column an edge",
            f"{path.name}: {kind} {list(shape)}",
        )
        return None
    pairs = tensor.numpy().T.astype(np.int64)
    if n is not None and (pairs.min() < 0 or pairs.max() >= n):
        worst = int(pairs.min() if pairs.min() < 0 else pairs.max())
        faults.add(
            f"{_EDGES}: an edge to a POI that the region's tensor of vectors lacks",
            f"{path.name}: POI {worst} of {n}",
        )
        return None
    return pairs


def _load(
    load: Callable[[Path], Any], path: Path, key: str, faults: Faults
) -> Any | None:
    try:
        return load(path)
    except pickle.UnpicklingError:  # PyTorch's message advises to run what is in there
        text = "damaged, or holds more than a tensor"
    except Exception as error:  # torch and zip files, each with its own
        text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    faults.add(
        f"{key}: cannot be read as a tensor saved by PyTorch", f"{path.name}: {text}"
    )
    return None
