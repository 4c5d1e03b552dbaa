"""Finds what is read together with a file: members of mosaics, and side files.

Side files hold georeferencing, masks, overviews, CRS, encoding, and what a database has
not yet written into its main file. The file that a config names may stay the same while
a side file changes what is read.
"""

from __future__ import annotations

import os
import re
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from rasterio.errors import NotGeoreferencedWarning

from data_prep.files import formats, mosaics
from mmgr_jax.data import contents
from mmgr_jax.errors import InputError

_DATABASES = (".gpkg", ".sqlite", ".db")
_ALONE = (".parquet", ".geoparquet", ".pq", ".csv", ".tsv", ".txt", ".geojson", ".json")
_ALONE += (".fgb", ".kml", ".pbf", ".zip", ".npz", ".npy")
_VECTOR_PARTS = {
    ".shp": (".dbf", ".shx", ".prj", ".cpg"),
    ".tab": (".dat", ".map", ".id", ".ind"),
    ".mif": (".mid",),
    ".gml": (".gfs", ".xsd"),
}
_RASTER_PARTS = (".aux", ".prj", ".tab", ".rpb", ".imd", ".rrd", ".clr", ".hdr", ".wld")
_BEHIND = (".aux.xml", ".ovr", ".msk", ".msk.ovr", ".aux")  # the whole name
_LOGS = ("-wal", "-journal")
_STATISTICS = "STATISTICS_"
_SINGLE = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".jp2", ".webp", ".bmp", ".gif")


class Finder:
    """Finds the side files and members of files; lists each folder only once."""

    def __init__(self) -> None:
        """Starts with no folder listed."""
        self._listed: dict[Path, dict[str, Path]] = {}

    def whole(self, name: str, path: Path) -> dict[str, Path]:
        """Returns a file with all files read with it, including members of members.

        Args:
            name: Name of the file; the names of the others begin with it.
            path: The file.
        """
        return self._whole(name, path, set())

    def _whole(self, name: str, path: Path, within: set[Path]) -> dict[str, Path]:
        files = {name: path}
        for side in self.beside(path):
            files[f"{name.rpartition('/')[0]}/{side.name}"] = side
        own = {file.resolve() for file in files.values()}
        if own & within:  # a mosaic of itself
            return files
        for index, member in enumerate(members(path)):
            if member.resolve() not in own:
                place = f"{name}#{index}/{member.name}"
                files |= self._whole(place, member, within | own)
        return files

    def beside(self, path: Path) -> list[Path]:
        """Lists the files next to a file that are read with it, sorted."""
        suffix = path.suffix.lower()
        if path.is_dir() or suffix in _ALONE:
            return []
        listed = self._files(path.parent)
        name, stem = path.name.lower(), path.stem.lower()
        if suffix in _DATABASES:
            wanted = [name + end for end in _LOGS]
        else:
            ends = _VECTOR_PARTS.get(suffix, (*_RASTER_PARTS, *_world(suffix)))
            wanted = [stem + end for end in ends] + [name + end for end in _BEHIND]
            wanted += [f"{stem}_rpc.txt"]
        sides = {listed[other] for other in wanted if other in listed and other != name}
        return sorted(side for side in sides if _says_something(side))

    def _files(self, folder: Path) -> dict[str, Path]:
        """Files of a folder by their names in lower case."""
        if folder not in self._listed:
            with os.scandir(folder) as entries:
                self._listed[folder] = {
                    entry.name.lower(): folder / entry.name for entry in entries
                }
        return self._listed[folder]


def members(path: Path) -> list[Path]:
    """Lists the files that a mosaic is made of; none for other files.

    Raises:
        InputError: If a mosaic cannot be opened.
    """
    suffix = path.suffix.lower()
    known = (*_SINGLE, *_ALONE, *_DATABASES, *_VECTOR_PARTS)
    if path.is_dir() or suffix in known:
        return []
    if formats.is_mosaic(path):
        return [member for member in mosaics.members(path) if member.is_file()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with formats.settings(), formats.open_raster(path) as opened:
                files = [_on_disk(name) for name in opened.files]
    except InputError:
        return []  # no raster: a table of some other format
    return [file for file in files if file is not None and file.name != path.name]


def is_side(path: Path) -> bool:
    """Whether a file is a side file, by its name."""
    name = path.name.lower()
    parts = tuple(end for ends in _VECTOR_PARTS.values() for end in ends)
    ends = (*_BEHIND, *_LOGS, *_RASTER_PARTS, *parts, "_rpc.txt")
    world = re.fullmatch(r"\.\w{2,4}w", path.suffix.lower()) and path.suffix != ".raw"
    return bool(world) or (name.endswith(ends) and not name.endswith(".tab"))


def of_statistics(path: Path) -> str | None:
    """Returns the hash of a `.aux.xml` without its statistics; None: another file.

    Programs that show an image write its statistics there, and no build reads them.
    """
    if not path.name.lower().endswith(".aux.xml"):
        return None
    root = _without_statistics(path)
    if root is None:
        return None
    try:
        text = ElementTree.tostring(root, encoding="unicode")
    except RecursionError:  # nested deeper than anything that says something
        return None
    return contents.of_value(ElementTree.canonicalize(text, strip_text=True))


def _says_something(path: Path) -> bool:
    """Whether a side file decides anything: not an empty log, nor bare statistics."""
    if path.name.lower().endswith(_LOGS):
        return path.stat().st_size > 0
    if path.name.lower().endswith(".aux.xml"):
        root = _without_statistics(path)
        return root is None or len(root) > 0
    return path.is_file()


def _without_statistics(path: Path) -> ElementTree.Element | None:
    """What a `.aux.xml` says beside statistics and histograms; None if unreadable."""
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError):
        return None
    for parent in list(root.iter()):
        for child in list(parent):
            key = str(child.get("key", ""))
            if child.tag == "Histograms" or key.startswith(_STATISTICS):
                parent.remove(child)
    for parent in reversed(list(root.iter())):  # what is empty now says nothing
        for child in list(parent):
            if child.tag in ("Metadata", "PAMRasterBand") and not len(child):
                parent.remove(child)
    return root


def _world(suffix: str) -> tuple[str, ...]:
    """Endings of the world file of an image: .tfw and .tifw of .tif."""
    letters = suffix.removeprefix(".")
    return (f".{letters[:1]}{letters[-1:]}w", f".{letters}w") if letters else ()


def _on_disk(name: str) -> Path | None:
    """The file behind a name of GDAL's, an archive where it lies in one."""
    path = Path(re.sub(r"^(/vsi\w+/)+", "", name))
    for candidate in (path, *path.parents):
        if candidate.is_file():
            return candidate
    return None
