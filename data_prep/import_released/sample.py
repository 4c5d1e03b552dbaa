"""Reads the folders of the released sample, region by region."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8
from PIL import Image

from data_prep.files import faults as faults_lib
from data_prep.pois import graph
from data_prep.running import progress
from mmgr_jax.errors import InputError
from mmgr_jax.extras import install

LAYOUT = {
    "images": ("sub_*_img", ".png"),
    "vectors": ("sub_*_emb", ".tensor"),
    "edges": ("sub_*_edge", ".tensor"),
    "population": ("pop1km", ".txt"),
}
"""What is read: the folder of each kind of file, and how the files' names end."""

_WANTED = (
    "The files that are read are sub_*_img/X.png (the tile), sub_*_emb/X.tensor "
    "(float32 [n 64], a row a POI), sub_*_edge/X.tensor (int64 [2 e], pairs of POIs) "
    "and pop1km/X.txt (one number), where X is the name of a region"
)
_VECTOR_DIM = 64
# Of a PNG file: where its header says how many bits a channel has.
_PNG_DEPTH_AT = 24

_Faults = defaultdict[str, list[str]]
"""Complaint -> the files or regions it holds for."""


class _UnfitError(Exception):
    """A tensor that is refused; its arguments are the complaint and what is there."""


@dataclasses.dataclass(frozen=True)
class SamplePois:
    """The POIs of every region, in the order of the regions' names.

    Attributes:
        category: Category of each POI of each region [n].
        edges: Pairs of POIs i < j of each region, sorted, each once [e 2].
        vectors: Vector of each category [k d].
        dropped: Number of edges left out, by reason.
    """

    category: Sequence[Int32[np.ndarray, " _"]]
    edges: Sequence[Int32[np.ndarray, "_ 2"]]
    vectors: Float32[np.ndarray, "k d"]
    dropped: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class ReleasedSample:
    """A sample without its pixels.

    Attributes:
        images: Region -> its image, the regions sorted by name.
        tile_size_px: Side of the tiles.
        pois: The POIs of every region.
        population: Number of each region [r], NaN where unknown.
        report: Facts for the report.
    """

    images: Mapping[str, Path]
    tile_size_px: int
    pois: SamplePois
    population: Float32[np.ndarray, " r"]
    report: Mapping[str, Any]


def folders(directory: str) -> dict[str, Path]:
    """Returns the existing folders of `LAYOUT`, by kind.

    Raises:
        InputError: If there are several of a kind.
    """
    present = {}
    for kind, (pattern, _) in LAYOUT.items():
        paths = sorted(Path(directory).glob(pattern))
        if len(paths) > 1:
            raise InputError(
                f"config.released_sample.dir {directory!r}: {len(paths)} folders "
                f"{pattern}, but the sample of one city is read. Give each city a "
                "folder of its own."
            )
        if paths:
            present[kind] = paths[0]
    return present


def read(city: str, directory: str) -> ReleasedSample:
    """Reads a sample and checks every file of it.

    Args:
        city: Name of the study area, for messages.
        directory: Where the folders of `LAYOUT` are.

    Raises:
        InputError: If the folders differ from `LAYOUT` or hold errors (it names
            everything that is wrong), or if PyTorch is not installed.
    """
    files = _files(directory)
    faults: _Faults = defaultdict(list)
    needed = ("images", "vectors", "edges")
    regions = sorted(set().union(*(files[kind] for kind in needed)))
    for kind in needed:
        if missing := [region for region in regions if region not in files[kind]]:
            pattern, ending = LAYOUT[kind]
            complaint = f"{pattern}: no X{ending} for regions of the other folders"
            faults[complaint] = missing
    size_px, changed = _inspect_images(list(files["images"].values()), faults)
    pois = _read_pois(files["vectors"], files["edges"], faults)
    paths = [files["population"].get(region) for region in regions]
    if not any(paths):
        faults["pop1km: no X.txt for regions of the other folders"] = regions
    population = np.array([_number(path, faults) for path in paths], np.float32)
    problems = [
        f"{complaint} ({len(names)}): {faults_lib.names(names)}."
        for complaint, names in faults.items()
    ]
    faults_lib.refuse(city, problems)
    counts = [len(category) for category in pois.category]
    report = {
        "POIs": sum(counts),
        "distinct vectors": len(pois.vectors),
        "regions without POI": counts.count(0),
        "edges": sum(map(len, pois.edges)),
        "edges dropped": pois.dropped,
        "images changed": changed,
        "regions without population": int(np.isnan(population).sum()),
    }
    return ReleasedSample(files["images"], size_px, pois, population, report)


def tile(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Reads an image as a tile.

    Grey and palette images become RGB; an alpha channel is dropped, not blended, so
    that pixels keep the colours they are stored with.

    Raises:
        InputError: If the pixels are damaged.
    """
    try:
        with Image.open(path) as image:
            # By way of RGBA, palettes with transparency keep their colours, too.
            image = image.convert("RGBA" if image.mode == "P" else image.mode)
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow has many kinds of its own
        raise InputError(
            f"{path}: cannot be decoded ({error}). Get the file again."
        ) from error


def _files(directory: str) -> dict[str, dict[str, Path]]:
    """Of each kind region -> its file, the regions sorted by name."""
    files = {}
    present = folders(directory)
    for kind, (pattern, ending) in LAYOUT.items():
        paths = present[kind].glob(f"*{ending}") if kind in present else ()
        by_region = {path.name.removesuffix(ending): path for path in paths}
        files[kind] = dict(sorted(by_region.items()))
        if not files[kind]:
            raise InputError(
                f"config.released_sample.dir {directory!r}: no folder {pattern} with "
                f"a file X{ending} in it. {_WANTED}; other layouts are not read."
            )
    return files


def _inspect_images(
    paths: Sequence[Path], faults: _Faults
) -> tuple[int, dict[str, int]]:
    """The side of the tiles, and how many images must be changed, by what is done."""
    counts, sizes = Counter(), {}
    for path in progress.track(paths, "images checked", len(paths)):
        try:
            sizes[path.name] = _inspect(path, faults, counts)
        except Exception as error:  # Pillow has many kinds of its own
            faults["image cannot be read"].append(f"{path.name}: {error}")
    (((usual_px, _), _),) = Counter(sizes.values()).most_common(1) or [((0, 0), 0)]
    for name, (width_px, height_px) in sizes.items():
        if not width_px == height_px == usual_px:
            complaint = (
                f"image not square, or not of the {usual_px} px that most have; cut or "
                "resize it"
            )
            faults[complaint].append(f"{name}: {width_px} x {height_px}")
    return usual_px, {change: count for change, count in counts.items() if count}


def _inspect(path: Path, faults: _Faults, counts: Counter[str]) -> tuple[int, int]:
    """Width and height; notes what is wrong and what must be changed."""
    with path.open("rb") as file:
        header = file.read(_PNG_DEPTH_AT + 1)
    with Image.open(path) as image:
        mode, size = image.mode, image.size
        has_alpha = mode in ("LA", "RGBA") or "transparency" in image.info
        # Pillow would cut 16-bit colours to 8 bits without a word.
        deep = image.format == "PNG" and header[_PNG_DEPTH_AT] > 8
        image.verify()
    if deep or mode.startswith(("I", "F")):
        complaint = (
            "image has more than 8 bits a channel; scale all of them alike to 8 bits, "
            "such as with `gdal_translate -ot Byte -scale LOW HIGH 0 255 IN OUT`"
        )
        faults[complaint].append(path.name)
    counts["alpha dropped"] += has_alpha
    counts["grey to RGB"] += mode in ("1", "L", "LA")
    counts["palette to RGB"] += mode == "P"
    return size


def _read_pois(
    vectors: Mapping[str, Path], edges: Mapping[str, Path], faults: _Faults
) -> SamplePois:
    """The POI set of each region that has both files.

    A tensor without elements is an empty set, whatever its shape and type: that is how
    a region without POIs may come.
    """
    load, rows, pairs = _loader(), [np.zeros((0, _VECTOR_DIM), np.float32)], []
    dropped = {"second directions and repeats": 0, "loops": 0}
    regions = [region for region in vectors if region in edges]
    for region in progress.track(regions, "POI sets read", len(regions)):
        try:
            rows.append(_vectors(load(vectors[region])))
            stored = _pairs(load(edges[region]), len(rows[-1]))
        except _UnfitError as error:
            complaint, shown = error.args
            faults[complaint].append(f"{region}: {shown}")
            continue
        loops = stored[:, 0] == stored[:, 1]
        pairs.append(graph.sorted_once(stored[~loops], len(rows[-1])))
        dropped["loops"] += int(loops.sum())
        dropped["second directions and repeats"] += int((~loops).sum()) - len(pairs[-1])
    table, ids = categories(np.concatenate(rows))
    if not len(table):
        faults["vectors: no region has a POI"] = ["sub_*_emb"]
    ends = np.cumsum([len(vectors) for vectors in rows])
    return SamplePois(np.split(ids, ends[:-1])[1:], pairs, table, dropped)


def categories(
    vectors: Float32[np.ndarray, "n d"],
) -> tuple[Float32[np.ndarray, "k d"], Int32[np.ndarray, " n"]]:
    """Returns the distinct vectors, and the row of each POI's vector among them.

    Two vectors are the same when their bytes are the same. Numbers are not compared, so
    nothing is lost, and 0 and -0 stay different. The most frequent vector comes first;
    equally frequent vectors are in the order of their bytes.
    """
    stored = [vector.tobytes() for vector in vectors]
    counts = Counter(stored)
    ranked = sorted(counts, key=lambda key: (-counts[key], key))
    number = {key: index for index, key in enumerate(ranked)}
    table = np.frombuffer(b"".join(ranked), np.float32).reshape(-1, vectors.shape[1])
    return table, np.array([number[key] for key in stored], np.int32)


def _loader() -> Callable[[Path], Any]:
    try:
        import torch
    except ImportError as error:
        raise InputError(
            "the released .tensor files are PyTorch's, which is not installed: "
            f"{install('torch')}. It is needed only until the records are made."
        ) from error

    def load(path: Path) -> Any:
        complaint = f"{path.parent.name}: cannot be read as a tensor saved by PyTorch"
        try:
            tensor = torch.load(path, weights_only=True, map_location="cpu")
        except pickle.UnpicklingError as error:  # PyTorch's text advises to run it
            shown = "damaged, or holds more than a tensor"
            raise _UnfitError(complaint, shown) from error
        except Exception as error:  # torch and zip files, each with its own
            shown = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise _UnfitError(complaint, shown) from error
        if not isinstance(tensor, torch.Tensor):
            raise _UnfitError(
                complaint, f"holds a {type(tensor).__name__}, not a tensor"
            )
        return tensor.detach()

    return load


def _vectors(tensor: Any) -> Float32[np.ndarray, "n 64"]:
    """The vectors of one region."""
    if not tensor.numel():
        return np.zeros((0, _VECTOR_DIM), np.float32)
    shape, kind = tuple(tensor.shape), str(tensor.dtype)
    if kind != "torch.float32" or len(shape) != 2 or shape[1] != _VECTOR_DIM:
        raise _UnfitError(
            f"vectors: not a tensor torch.float32 [n {_VECTOR_DIM}], one row a POI",
            f"{kind} {list(shape)}",
        )
    rows = np.ascontiguousarray(tensor.numpy())
    if wrong := int((~np.isfinite(rows)).any(axis=1).sum()):
        raise _UnfitError(
            "vectors: numbers that are not finite", f"{wrong} of {len(rows)} rows"
        )
    return rows


def _pairs(tensor: Any, n: int) -> Int64[np.ndarray, "m 2"]:
    """The edges of one region of n POIs as they are stored."""
    if not tensor.numel():
        return np.zeros((0, 2), np.int64)
    shape, kind = tuple(tensor.shape), str(tensor.dtype)
    if kind not in ("torch.int64", "torch.int32") or len(shape) != 2 or shape[0] != 2:
        raise _UnfitError(
            "edges: not a tensor torch.int64 [2 e], one column an edge",
            f"{kind} {list(shape)}",
        )
    pairs = tensor.numpy().T.astype(np.int64)
    if pairs.min() < 0 or pairs.max() >= n:
        worst = int(pairs.min() if pairs.min() < 0 else pairs.max())
        raise _UnfitError(
            "edges: an edge to a POI that the region's tensor of vectors lacks",
            f"POI {worst} of {n}",
        )
    return pairs


def _number(path: Path | None, faults: _Faults) -> float:
    """The number in a file; NaN where there is none, noted unless it says so."""
    if path is None:
        return math.nan
    text = path.read_text(encoding="utf-8-sig", errors="replace").strip()
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if math.isinf(number) or number < 0:
        complaint = (
            "pop1km: not one number of 0 or more; remove files that stand for missing "
            "data, a region without one has no value"
        )
        faults[complaint].append(f"{path.name}: {text[:40]}")
    return number
