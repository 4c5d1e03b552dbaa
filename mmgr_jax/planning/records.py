"""Describes the records of a run, from their manifests or from assumed numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import addresses, settings
from mmgr_jax.data import opening, pipeline, remote, schema
from mmgr_jax.data.settings import CorpusSettings, DataSettings
from mmgr_jax.data.turns import Turns

SHARE_OF_PIXELS = {"raw": 1.0, "png": 0.65, "webp": 0.58, "jpeg": 0.25}
"""Size of a stored tile as a share of its pixels' size; measured in docs/input.md."""

BESIDE_TILE_BYTES = 4_000
"""Assumed bytes of a record without its tile: some hundred POIs with their graph."""


@dataclasses.dataclass(frozen=True)
class Records:
    """The numbers of records that decide the shapes and the cost of a run.

    Attributes:
        num_regions: Number of regions in all cities.
        max_pois: Number of POIs in the region with most POIs.
        num_categories: Number of POI categories.
        category_dim: Length of a category vector.
        tile_size_px: Side of a tile, in pixels.
        image_format: Encoding of the tiles.
        stored_bytes: Size of the shards, in bytes.
        names: Names of the cities.
        sizes: Number of regions of each city.
        weights: Weight of each city; () for one folder that is no corpus.
        assumed: Whether the numbers are assumed, because there are no records.
    """

    num_regions: int
    max_pois: int
    num_categories: int
    category_dim: int
    tile_size_px: int
    image_format: str
    stored_bytes: int
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    assumed: bool

    @property
    def decoded_bytes(self) -> int:
        """Size of all decoded tiles, in bytes."""
        return self.num_regions * self.tile_size_px**2 * 3

    def turns(self, corpus: CorpusSettings, data: DataSettings) -> Turns | None:
        """Returns the order of the cities in training; None if there is no corpus.

        Raises:
            InputError: If a batch would need more regions of a city than it has.
        """
        if not self.weights:
            return None
        return Turns.of(self.names, self.sizes, self.weights, corpus, data)

    def steps_per_epoch(self, corpus: CorpusSettings, data: DataSettings) -> int:
        """Returns the number of batches in an epoch.

        Raises:
            InputError: If one batch would need more regions than there are.
        """
        turns = self.turns(corpus, data)
        if turns is None:
            return pipeline.steps_per_epoch(self.num_regions, data)
        return turns.steps_per_epoch


def records_of(
    config: ConfigDict,
    *,
    num_regions: int,
    max_pois: int,
    num_categories: int,
    num_cities: int | None = None,
) -> Records:
    """Describes records from their manifests or, if there are none, by assumptions.

    Args:
        config: A config as in configs/, which names a corpus or one folder.
        num_regions: Assumed number of regions in all cities.
        max_pois: Assumed number of POIs in the region with most POIs.
        num_categories: Assumed number of POI categories.
        num_cities: Assume a corpus of so many cities of equal size, and do not look for
            records; None: look for records.

    Raises:
        InputError: If there are records and they are damaged.
    """
    corpus = settings.read(CorpusSettings, config.corpus, "corpus")
    if num_cities is None and corpus.records:
        named = opening.folders(corpus)
        return _there([one.path for one in named], [one.weight for one in named])
    here = config.records.dir
    if num_cities is None and _is_there(here):
        return _there([here], [])
    side = config.regions.tile_size_px
    count = num_cities or 1
    sizes = np.full(count, num_regions // count)
    sizes[: num_regions % count] += 1
    image_format = config.records.image_format
    share = SHARE_OF_PIXELS[image_format]
    return Records(
        num_regions,
        max_pois,
        num_categories,
        config.category_vectors.dim,
        side,
        image_format,
        round(num_regions * (3 * side**2 * share + BESIDE_TILE_BYTES)),
        tuple(f"city {number:04d}" for number in range(1, count + 1)),
        tuple(sizes.tolist()),
        (1.0,) * count if num_cities else (),
        assumed=True,
    )


def _is_there(place: str) -> bool:
    return addresses.is_address(place) or (Path(place) / schema.MANIFEST_FILE).exists()


def _there(places: Sequence[Path | str], weights: Sequence[float]) -> Records:
    """Describes records from their manifests; opens no shard."""
    known = [_described(place) for place in places]
    manifests = [manifest for manifest, _, _ in known]
    pairs = sorted(
        zip(manifests, weights or [1.0] * len(known), strict=True),
        key=lambda pair: pair[0].city,
    )
    names = {name for manifest in manifests for name in manifest.categories}
    return Records(
        sum(manifest.num_regions for manifest in manifests),
        max(1, *(manifest.max_pois for manifest in manifests)),
        len(names),
        known[0][2],
        manifests[0].tile_size_px,
        manifests[0].image_format,
        sum(stored_bytes for _, stored_bytes, _ in known),
        tuple(manifest.city for manifest, _ in pairs),
        tuple(manifest.num_regions for manifest, _ in pairs),
        tuple(weight for _, weight in pairs) if weights else (),
        assumed=False,
    )


def _described(place: Path | str) -> tuple[schema.Manifest, int, int]:
    """Returns manifest, bytes of the shards and length of a category vector."""
    if addresses.is_address(place):
        manifest, stored_bytes, vectors = remote.described(str(place))
        return manifest, stored_bytes, vectors.shape[1]
    manifest = schema.Manifest.load(place)
    paths = manifest.shard_paths(place)
    stored_bytes = sum(path.stat().st_size for path in paths if path.exists())
    vectors = np.load(Path(place) / schema.CATEGORY_VECTORS_FILE, mmap_mode="r")
    return manifest, stored_bytes, vectors.shape[1]
