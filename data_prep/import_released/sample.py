"""What the folders of a released sample hold, region by region."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.import_released import images, places, tensors, texts
from data_prep.import_released.faults import Faults
from data_prep.import_released.places import Places
from data_prep.import_released.settings import ReleasedSettings
from data_prep.import_released.tensors import PoiSets
from data_prep.settings import CitySettings
from mmgr_jax.data import schema

_SUFFIX = {"image_dir": ".png", "vector_dir": ".tensor", "edge_dir": ".tensor"}


@dataclasses.dataclass(frozen=True)
class Sample:
    """A sample, all of it but the pixels.

    Attributes:
        images: Region -> its image, the regions sorted by name.
        tile_size_px: Side of the tiles.
        pois: The POIs of every region.
        places: Where the regions lie.
        labels: Values of each label [r], NaN where unknown.
        meanings: Meaning of each label.
        report: What is worth telling.
    """

    images: Mapping[str, Path]
    tile_size_px: int
    pois: PoiSets
    places: Places
    labels: Mapping[str, np.ndarray]
    meanings: Mapping[str, schema.Label]
    report: Mapping[str, Any]

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions, in the order of the records."""
        return tuple(self.images)


def read(city: CitySettings, block_size_m: float, settings: ReleasedSettings) -> Sample:
    """Reads a sample and checks every file of it.

    Args:
        city: Name of the study area, for messages; its metric CRS is read with
            centres alone.
        block_size_m: Side of a spatial block; read with centres alone.
        settings: Where the sample lies.

    Returns:
        The sample.

    Raises:
        InputError: Naming everything that is wrong, or if PyTorch is not installed.
    """
    faults = Faults()
    folders = {key: getattr(settings, key) for key in _SUFFIX}
    files = _files(folders, faults)
    regions = tuple(files["image_dir"])
    if not regions:
        faults.refuse(city.name)
    size_px, changed = images.inspect(files["image_dir"], settings.tile_size_px, faults)
    pois = tensors.read(files["vector_dir"], files["edge_dir"], faults)
    told = texts.read_labels(settings.labels, regions, faults)
    listed = texts.read_lists(settings.lists, regions, faults)
    where = places.read(
        regions,
        settings.centres,
        datum=settings.datum,
        crs=city.crs,
        tile_size_m=settings.tile_size_m,
        block_size_m=block_size_m,
        faults=faults,
    )
    faults.refuse(city.name)
    assert where is not None, "unfit places are a fault"
    return Sample(
        images=files["image_dir"],
        tile_size_px=size_px,
        pois=pois,
        places=where,
        labels=told.values,
        meanings=told.meanings,
        report={
            **_poi_report(pois),
            "images changed": changed,
            "labels": told.report,
            "lists": listed.regions,
            "names of no region in lists": listed.strangers,
            "regions in several lists": listed.shared,
            "unknown": _unknown(where),
        },
    )


def _files(folders: Mapping[str, str], faults: Faults) -> dict[str, dict[str, Path]]:
    """Of each folder region -> its file, sorted; regions that have all of them."""
    files = {}
    for key, folder in folders.items():
        found = Path(folder).glob(f"*{_SUFFIX[key]}")
        files[key] = {path.name.removesuffix(_SUFFIX[key]): path for path in found}
        if not files[key]:
            faults.add(
                f"config.released.{key} {folder!r}: no such folder, or no file "
                f"X{_SUFFIX[key]} in it"
            )
    every = set().union(*files.values())
    for key, of_region in files.items():
        missing = sorted(every - set(of_region))
        if missing and of_region:
            faults.add(
                f"config.released.{key} {folders[key]!r}: no X{_SUFFIX[key]} for these "
                "regions, which other folders have",
                *missing,
            )
    regions = sorted(set.intersection(*map(set, files.values())))
    return {
        key: {region: of_region[region] for region in regions}
        for key, of_region in files.items()
    }


def _poi_report(pois: PoiSets) -> dict[str, Any]:
    counts = np.array([len(category) for category in pois.category.values()], int)
    return {
        "POIs": int(counts.sum()),
        "distinct vectors": len(pois.vectors),
        "regions without POI": int((counts == 0).sum()),
        "edges": sum(len(edges) for edges in pois.edges.values()),
        "edges dropped": pois.dropped,
    }


def _unknown(where: Places) -> list[str]:
    """What the records do not know, in words."""
    unknown = [
        "where POIs stand in their region: offsets are 0",
        "how long edges are: each weighs 1",
        "what the categories are called: they have numbers for names",
    ]
    if not where.crs:
        unknown.append(
            "where regions lie: outlines are empty, maps cannot be drawn, and each "
            "region is a spatial block of its own, so splits by block are random "
            "splits; config.released.centres tells"
        )
    if not where.tile_size_m:
        unknown.append("how large a tile is on the ground: config.released.tile_size_m")
    return unknown
