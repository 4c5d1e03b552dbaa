"""Reads features of a city's regions, and stores them between commands."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, UInt64
from ml_collections import ConfigDict
from scipy import sparse

from mmgr_jax import __version__, settings
from mmgr_jax.data import contents, pipeline
from mmgr_jax.data.source import RecordSource
from mmgr_jax.devices import memory
from mmgr_jax.evaluation import store
from mmgr_jax.evaluation.certainty import places
from mmgr_jax.evaluation.features import baselines, features
from mmgr_jax.evaluation.features.groups import Features, Surroundings, beside, joined
from mmgr_jax.evaluation.inference_encoder import InferenceEncoder
from mmgr_jax.evaluation.settings import Kind, ReadoutSettings
from mmgr_jax.store import identity

KINDS: Mapping[Kind, tuple[str, ...]] = {
    "image": ("image",),
    "poi": ("poi",),
    "both": ("image", "poi"),
    "all": ("image", "poi", "image statistics", "poi counts"),
    "image_projection": ("image_projection",),
    "poi_projection": ("poi_projection",),
}
"""Kind of features -> names of its parts: kinds of the encoder, or baselines."""

ENCODED = "encoder"
"""Name of an encoder's features in a store."""

_OUTLINES = 65536
_BYTES_A_PIXEL = 256
"""Largest memory for encoding: 64 float32, as in the first maps of ResNet-50."""

log = logging.getLogger(__name__)

Extracted = Mapping[str, Features]
"""Kind -> features of every region; see `features.features.KINDS`."""


@dataclasses.dataclass(frozen=True)
class EvaluatedCity:
    """Records and regions of a city.

    Attributes:
        source: The records.
        regions: All data of the regions except tiles and POIs.
        centre_m: Centres of the regions [r 2]; None if they are unknown.
    """

    source: RecordSource
    regions: features.RegionTable
    centre_m: np.ndarray | None

    @classmethod
    def of(cls, source: RecordSource) -> EvaluatedCity:
        """Reads the regions."""
        regions = features.read_regions(source)
        known = bool(source.manifest.crs)
        return cls(source, regions, _centres_m(regions) if known else None)

    @functools.cached_property
    def outlines(self) -> UInt64[np.ndarray, " r"]:
        """A hash of CRS and outline of each region; it is the same in all records."""
        crs = self.source.manifest.crs.encode()
        digests = (
            hashlib.blake2b(crs + b"\0" + bytes(outline), digest_size=8).digest()
            for outline in self.regions.geometry_wkb
        )
        return np.frombuffer(b"".join(digests), "<u8")

    @functools.cached_property
    def outlines_hash(self) -> str:
        """A hash of all outlines, in order."""
        return hashlib.sha256(self.outlines.tobytes()).hexdigest()


def encoded(
    config: ConfigDict,
    encoder: InferenceEncoder,
    source: RecordSource,
    *,
    share: tuple[int, int] = (0, 1),
) -> Extracted:
    """Returns an encoder's features of every region; the workdir stores them.

    Args:
        config: Names the workdir and the number of regions in a batch.
        encoder: The encoder.
        source: The records.
        share: Number of this process and number of processes that share the work. The
            result is complete when the other processes have finished.
    """
    encoder = encoder.of_city(source)
    options: dict[str, Any] = dict(
        batch_size=_batch_size(config.data.batch_size, encoder, source),
        num_threads=config.data.num_threads,
        edges=encoder.reads_edges,
    )
    kept = None
    if encoder.made_by is not None:
        weights = identity.of_weights(encoder.variables)
        kept = _store(config, source, {"weights": weights, **encoder.made_by})
    if kept is None:
        return features.extract(encoder.encode, source, **options)

    def make(regions: np.ndarray) -> Iterable[tuple[np.ndarray, features.Encoded]]:
        return features.in_batches(encoder.encode, source, regions=regions, **options)

    kept.fill(ENCODED, make, share=share)
    return kept.read(ENCODED)


def altered(
    config: ConfigDict,
    encoder: InferenceEncoder,
    source: RecordSource,
    alter: Callable[[np.ndarray], np.ndarray],
    regions: Int[np.ndarray, " n"],
) -> Extracted:
    """Computes features of regions with altered tiles, in memory.

    Args:
        config: Names the number of regions in a batch.
        encoder: The encoder.
        source: The records.
        alter: Tiles uint8 [b h w 3] -> altered tiles, which are encoded.
        regions: Indices of the regions, ascending.
    """
    encoder = encoder.of_city(source)

    def encode(batch: pipeline.Batch) -> features.Encoded:
        return encoder.encode({**batch, "image": alter(batch["image"])})

    return features.extract(
        encode,
        source,
        batch_size=_batch_size(config.data.batch_size, encoder, source),
        num_threads=config.data.num_threads,
        edges=encoder.reads_edges,
        regions=regions,
    )


class Readout:
    """Features of a city's regions for heads, maps and tables, by `config.readout`."""

    def __init__(self, config: ConfigDict, city: EvaluatedCity) -> None:
        """Finds the neighbours of every region.

        Raises:
            InputError: If the places of regions are needed but unknown.
        """
        self._config, self._city = config, city
        self.settings = settings.read(ReadoutSettings, config.readout, "readout")
        self._radii_m = self.settings.surroundings_m
        self._surroundings = Surroundings(city.centre_m, self._radii_m)
        self._plain: dict[str, Features] = {}

    def encoded(self, encoder: InferenceEncoder) -> Extracted:
        """Returns an encoder's features of every region, without surroundings."""
        return encoded(self._config, encoder, self._city.source)

    def features(self, encoded: Extracted, kind: Kind) -> Features:
        """Returns features of one of `KINDS` with surroundings, for heads."""
        parts = [encoded[part] for part in KINDS[kind] if part in encoded]
        held = {name for part in parts for name, _ in part.groups}
        for part in KINDS[kind]:
            if part not in encoded:
                parts += [  # nobody counts POIs twice
                    columns
                    for columns in self._columns(part)
                    if not held & {name for name, _ in columns.groups}
                ]
        return self._around(parts)

    def plain(self, name: str) -> Features:
        """Returns features of a baseline, without surroundings."""
        return beside(self._columns(name))

    def baseline(self, name: str) -> Features:
        """Returns features of a baseline, with surroundings."""
        return self._around(self._columns(name))

    def around(self, own: Features) -> Features:
        """Adds surroundings to the features of a table."""
        return self._around([own])

    def said(self, what: str) -> str:
        """Describes features in words, with the radius of their surroundings."""
        if not self._radii_m:
            return what
        return f"{what}; and the mean of the regions within {self._radii_m[-1]:g} m"

    def _columns(self, name: str) -> list[Features]:
        """Features of a baseline, made once, or of those that it is made of."""
        baseline = baselines.BASELINES[name]
        if baseline.parts:
            return [column for part in baseline.parts for column in self._columns(part)]
        if name not in self._plain:
            self._plain[name] = self._made(name, baseline)
        return [self._plain[name]]

    def _made(self, name: str, baseline: baselines.Baseline) -> Features:
        source, of_rows = self._city.source, baseline.of_rows
        kept = _store(self._config, source, {"baseline": name}) if of_rows else None
        if of_rows is None or kept is None:
            assert baseline.features is not None  # a rule has none
            return baseline.features(baselines.Inputs(source, self._city.centre_m))

        def make(regions: np.ndarray) -> Iterable[tuple[np.ndarray, features.Encoded]]:
            for first in range(0, len(regions), store.SLICE):
                rows = regions[first : first + store.SLICE]
                columns = of_rows(source, rows.tolist())
                yield rows, {name: {columns.groups[0][0]: columns.values}}

        kept.fill(name, make)
        return kept.read(name)[name]

    def _around(self, parts: Sequence[Features]) -> Features:
        """Columns and behind them those of each ring, in groups as configured."""
        rings = self._surroundings.rings
        columns = [*parts]
        for number, (ring, radius_m) in enumerate(
            zip(rings, self._radii_m, strict=True)
        ):
            columns += [
                self._ring(ring, part, self._radii_m[: number + 1]).renamed(
                    f"{{}} within {radius_m:g} m"
                )
                for part in parts
            ]
        added = dataclasses.replace(joined(columns), rings=rings)
        if self.settings.groups == "columns":
            return dataclasses.replace(
                added, groups=(("features", added.num_features),)
            )
        return added

    def _ring(
        self, ring: sparse.csr_array, own: Features, radii_m: Sequence[float]
    ) -> Features:
        """The mean features of a ring, beside its own in their store if they have one.

        Args:
            ring: Its weights.
            own: Features of the regions themselves.
            radii_m: Outer radii up to its own.
        """
        if not isinstance(own, store.Stored):
            around = tuple((ring @ part).astype(np.float32) for part in own.parts)
            return dataclasses.replace(own, parts=around)
        inner_m = radii_m[-2] if len(radii_m) > 1 else 0.0
        places = contents.of_value([self._city.outlines_hash, inner_m, radii_m[-1]])
        name = f"{own.kind} around {places[:16]}"
        kept = own.store

        def make(regions: np.ndarray) -> Iterable[tuple[np.ndarray, features.Encoded]]:
            for first in range(0, len(regions), store.SLICE):
                rows = regions[first : first + store.SLICE]
                values = store.ring_rows(ring, own, rows)
                store.release(own)
                ends = np.cumsum([size for _, size in own.groups])[:-1]
                groups = np.split(values, ends, axis=1)
                names = [group for group, _ in own.groups]
                yield rows, {name: dict(zip(names, groups, strict=True))}

        kept.fill(name, make)
        return kept.read(name)[name]


def _store(
    config: ConfigDict, source: RecordSource, about: Mapping[str, Any]
) -> store.Store | None:
    """Where features of a city are kept; None where there is no workdir to write to."""
    if "workdir" not in config:
        return None
    records = source.identity
    inputs = {name: records[name] for name in ("inputs", "categories", "vectors")}
    if not records["inputs"]:  # of before: labels count, too
        inputs["regions"] = records["regions"]
    about = {**about, "records": inputs, "software": __version__}
    root = Path(config.workdir) / store.FOLDER
    try:
        return store.Store(root, about, len(source))
    except OSError as error:
        log.warning(
            "%s: features are not kept, so the next command makes them again (%s)",
            root, error.strerror,
        )  # fmt: skip
        return None


def _batch_size(wanted: int, encoder: InferenceEncoder, source: RecordSource) -> int:
    """Regions at a time: as configured, where there are as many and memory for them."""
    size = min(wanted, len(source))
    if jax.default_backend() == "cpu":
        free = memory.available_bytes()
        pixels = encoder.size_px**2 + source.manifest.tile_size_px**2
        if free is not None:
            size = min(size, max(int(free / 4 / (pixels * _BYTES_A_PIXEL)), 1))
    return -(-size // encoder.num_devices) * encoder.num_devices


def _centres_m(regions: features.RegionTable) -> np.ndarray:
    """Centres of all regions, whose outlines are not all unpacked at once."""
    outlines = regions.geometry_wkb
    return np.concatenate(
        [
            places.centres_m(outlines[first : first + _OUTLINES])
            for first in range(0, max(len(outlines), 1), _OUTLINES)
        ]
    )
