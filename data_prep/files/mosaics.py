"""Lists the files that a raster names in XML, such as members of mosaics.

A VRT is a text that names files; the `.aux.xml` next to any raster can name files too.
GDAL opens anything that is named there, even a web address or the raw bytes of any
file. Here the names are only read; nothing is opened.

Reference: https://gdal.org/en/stable/drivers/raster/vrt.html
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from mmgr_jax.errors import InputError

# Elements whose text GDAL opens as a file.
_OPENED = {"sourcefilename", "sourcedataset", "dempath"}
# Metadata that GDAL opens as files: another image's overviews, grids of positions.
_OPENED_KEYS = {"OVERVIEW_FILE", "X_DATASET", "Y_DATASET"}
_DATASETS = {None, "", "VRTWarpedDataset", "VRTPansharpenedDataset"}
_BANDS = {
    None,
    "",
    "VRTSourcedRasterBand",
    "VRTWarpedRasterBand",
    "VRTPansharpenedRasterBand",
    "VRTDerivedRasterBand",
}
# Open options by which a nested mosaic looks for its members elsewhere.
_ROOT_PATH = "ROOT_PATH"
_BESIDE = ":::BASE:::"


def members(path: Path) -> list[Path]:
    """Lists the files that a VRT names, each once, in its order; they may be missing.

    Raises:
        InputError: If the file is no XML, or a kind of VRT that reads more than images.
    """
    try:
        content = path.read_bytes()
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise _refused(path, "declares entities")
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise InputError(
            f"{path}: is not a complete VRT mosaic ({error}). Make it again with "
            "`gdalbuildvrt`."
        ) from error
    if root.tag != "VRTDataset" or root.get("subClass") not in _DATASETS:
        raise _refused(path, f"is of the kind {root.get('subClass') or root.tag!r}")
    for element in root.iter():
        _refuse_band(path, element)
    return _named(root, path.parent)


def beside(path: Path) -> list[Path]:
    """Lists the files that the `.aux.xml` of a raster names; none if it has none.

    Raises:
        InputError: If the `.aux.xml` cannot be read.
    """
    side = path.with_name(f"{path.name}.aux.xml")
    if not side.is_file():
        return []
    content = side.read_bytes()
    try:
        return _named(ElementTree.fromstring(content), path.parent)
    except ElementTree.ParseError as error:
        # Programs write bytes there that are no XML; what names no file may stay.
        words = [word.encode() for word in _OPENED_KEYS] + [b"&#"]
        if not any(word in content for word in words):
            return []
        raise InputError(
            f"{side}: is not complete XML ({error}). Correct it or remove it."
        ) from error


def _refuse_band(path: Path, element: ElementTree.Element) -> None:
    if element.tag == "VRTRasterBand" and element.get("subClass") not in _BANDS:
        raise _refused(path, f"has a band of the kind {element.get('subClass')!r}")
    language = element.tag == "PixelFunctionLanguage" and (element.text or "").strip()
    if language and language != "C":
        raise _refused(path, f"has pixels that a program in {language} makes")
    if element.tag == "OOI" and element.get("key", "").upper() == _ROOT_PATH:
        raise _refused(path, f"has the option {_ROOT_PATH}")


def _named(root: ElementTree.Element, folder: Path) -> list[Path]:
    """The files named below an element, each once."""
    paths: dict[Path, None] = {}
    for element in root.iter():
        is_file = element.tag.lower() in _OPENED
        is_file |= element.tag == "MDI" and element.get("key") in _OPENED_KEYS
        text = (element.text or "").strip()
        if not is_file or not text:
            continue
        is_beside = text.startswith(_BESIDE)
        is_beside |= element.get("relativeToVRT", "0").strip() in ("1", "true")
        name = text.removeprefix(_BESIDE)
        paths[folder / name if is_beside else Path(name)] = None
    return list(paths)


def _refused(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: {what}; the only VRTs that are read are mosaics of images and "
        f"warped images. Make a GeoTIFF of it: `gdal_translate {path} "
        f"{path.with_suffix('.tif')}`."
    )
