"""Writes POIs of an area from an OpenStreetMap extract, with one column per tag.

The whole extract is fetched and stays in the cache for other areas. Only the elements
over the area are written next to the other raw files. So ten districts of a country are
ten small tables, not ten copies of the country.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path

import geopandas as gpd
import shapely
from shapely.geometry.base import BaseGeometry

from data_prep.fetch import osm_header
from data_prep.fetch.answers import Checksum, Unavailable
from data_prep.fetch.hosts import public
from data_prep.fetch.http import Client
from data_prep.fetch.osm_header import ExtractHeader
from data_prep.pois.sources import osm, osm_readers
from mmgr_jax.disk import files, refusals
from mmgr_jax.errors import InputError

_MD5 = re.compile(r"\s*([0-9a-fA-F]{32})\b")
_FULL_SHARE = 0.999


@dataclasses.dataclass(frozen=True)
class Extract:
    """An extract of OpenStreetMap.

    Attributes:
        address: Address of the file, or its path on this machine.
        checksum: Address of the file's MD5; "" where there is none.
    """

    address: str
    checksum: str = ""

    @property
    def is_here(self) -> bool:
        """Whether the extract is a file on this machine."""
        return "://" not in self.address

    @property
    def name(self) -> str:
        """Name of the extract in messages."""
        return self.address if self.is_here else public(self.address)

    def size(self, client: Client) -> tuple[int, int]:
        """Returns the bytes of the file, and how many of them are already here.

        Raises:
            InputError: If there is no such file.
        """
        if self.is_here:
            size = self._path_here().stat().st_size
            return size, size
        entry = client.cache.entry(self.address)
        known = entry.about()
        if not client.offline or known is None or known.size is None:
            known = client.look(self.address)[0]
        have = [
            path.stat().st_size for path in (entry.body, entry.part) if path.exists()
        ]
        return known.size or 0, max(have, default=0)

    def header(self, client: Client) -> ExtractHeader | None:
        """Returns the header; None where it is unknown until the whole file is here.

        Raises:
            InputError: If there is no such file.
        """
        if self.is_here:
            return header_of(self._path_here())
        entry = client.cache.entry(self.address)
        for path, least in ((entry.body, 0), (entry.part, osm_header.HEAD_BYTES)):
            if path.exists() and path.stat().st_size >= least:
                return header_of(path)
        try:
            last = osm_header.HEAD_BYTES - 1
            return osm_header.parse(client.part(self.address, 0, last, None))
        except Unavailable as failure:
            if failure.kind != "refused" and not client.offline:
                raise
            return None  # its server gives no parts of files

    def file(self, client: Client) -> Path:
        """Fetches the file, compares it with its checksum and returns it.

        Raises:
            InputError: If the file cannot be fetched completely.
        """
        if self.is_here:
            return self._path_here()
        checksum = None
        if self.checksum:
            text = client.document(self.checksum).decode("utf-8", "replace")
            match = _MD5.match(text)
            if match is None:
                raise InputError(
                    f"{public(self.checksum)}: holds no MD5 ({text[:40]!r}). Give the "
                    "command again later, or name the extract by --pois=osm=ADDRESS."
                )
            checksum = Checksum("md5", match[1])
        return client.file(self.address, checksum)

    def _path_here(self) -> Path:
        path = Path(self.address)
        if not path.is_file():
            raise InputError(
                f"--pois=osm={self.address}: is neither a file nor an address; name "
                "an .osm.pbf file or its address."
            )
        return path


def header_of(path: Path) -> ExtractHeader | None:
    """Returns the header of a file on this machine."""
    with path.open("rb") as file:
        return osm_header.parse(file.read(osm_header.HEAD_BYTES))


def refuse_elsewhere(
    extract: Extract, header: ExtractHeader | None, outline: BaseGeometry
) -> None:
    """Refuses an extract of another place; warns if it lacks a part of the area.

    Args:
        extract: The extract.
        header: Its header.
        outline: The area, in degrees.

    Raises:
        InputError: If the box of the extract and the area do not overlap.
    """
    if header is None or header.box_deg is None:
        return
    west, south, east, north = header.box_deg
    box = shapely.box(west, south, east, north)
    shown = f"{west:.2f},{south:.2f},{east:.2f},{north:.2f}"
    if not box.intersects(outline):
        raise InputError(
            f"{extract.name}: covers {shown} (W,S,E,N), and no part of the area. Take "
            "the extract of its country or region."
        )
    share = box.intersection(outline).area / outline.area
    if share < _FULL_SHARE:
        logging.warning(
            "pois: %s covers only %s, %.0f%% of the area and its margin",
            extract.name,
            shown,
            100 * share,
        )


def write_pois(
    extract: Extract, path_here: Path, outline: BaseGeometry, path: Path
) -> tuple[int, int]:
    """Writes the elements over an outline that may be POIs.

    Args:
        extract: The extract, for messages.
        path_here: Path of its file.
        outline: The outline in degrees.
        path: The GeoParquet to make: id, name, one column per tag, geometry.

    Returns:
        How many elements are POIs by our table of tags, and how many there are in all.

    Raises:
        InputError: If the extract is damaged, or has no POI in the area.
    """
    rules = osm.read_rules(osm.TABLE)
    wanted = {key: tuple(values) for key, values in rules.items()}
    elements = over(extract, path_here, wanted, outline)
    count = len(osm.categorised(elements, rules))
    if not count:
        raise InputError(
            f"{extract.name}: none of its {len(elements):,} element(s) with tags over "
            f"the area is a POI by the rules of {osm.TABLE.name}. Take another "
            "extract (--pois=geofabrik:...), another source, or a larger area."
        )
    kept = elements.dropna(axis="columns", how="all")
    kept.insert(0, "id", kept.index.astype(str))
    with refusals.explained(path.parent), files.replacing(path) as temporary:
        kept.reset_index(drop=True).to_parquet(temporary, index=False)
    return count, len(kept)


def over(
    extract: Extract, path: Path, wanted: osm_readers.Wanted, outline: BaseGeometry
) -> gpd.GeoDataFrame:
    """Returns elements with any of some tags that touch an outline; not clipped.

    Raises:
        InputError: If the extract is damaged.
    """
    west, south, east, north = outline.bounds
    try:
        osm_readers.probe(str(path))
        box = (west, south, east, north)
        elements = osm_readers.read_with_gdal(str(path), wanted, box)
    except InputError as error:
        text = str(error).replace(str(path), extract.name)
        raise InputError(text) from error
    shapely.prepare(outline)
    return elements[shapely.intersects(outline, elements.geometry.to_numpy())]
