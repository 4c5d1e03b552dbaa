"""POIs of an area from an extract of OpenStreetMap, as a table with a column a tag.

The extract comes whole and stays in the cache, where other areas find it; what of it
lies over the area goes beside the raw files. So ten districts of a country are ten
small tables, not ten copies of the country.
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
        address: Of the file, or its path here.
        checksum: Address of its MD5, "" where there is none.
    """

    address: str
    checksum: str = ""

    @property
    def is_here(self) -> bool:
        """Whether it is a file of this machine."""
        return "://" not in self.address

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.address if self.is_here else public(self.address)

    def size(self, client: Client) -> tuple[int, int]:
        """Bytes of the file, and those of them that are here already.

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
        """What its first bytes say; None where nothing is known before all came.

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
        """The file, fetched and compared with its checksum.

        Raises:
            InputError: If it cannot be had whole.
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
    """What the first bytes of a file here say."""
    with path.open("rb") as file:
        return osm_header.parse(file.read(osm_header.HEAD_BYTES))


def refuse_elsewhere(
    extract: Extract, header: ExtractHeader | None, outline: BaseGeometry
) -> None:
    """Refuses an extract of another place, warns where a part of the area lacks.

    Args:
        extract: Which one.
        header: What it says of itself.
        outline: The area, in degrees.

    Raises:
        InputError: If its box and the area have nothing in common.
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
        extract: For messages.
        path_here: Its file.
        outline: In degrees.
        path: The GeoParquet to make: id, name, a column a tag, geometry.

    Returns:
        How many of them are POIs by our table of tags, and how many there are.

    Raises:
        InputError: If the extract is damaged, or has no POI there.
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
    """Elements with any of some tags that touch an outline, each whole.

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
