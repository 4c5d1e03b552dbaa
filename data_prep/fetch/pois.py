"""Fetches POIs of an area from Overture Places or an OpenStreetMap extract.

    <out>/pois/overture.parquet or osm.parquet    those within the outline and a margin
              /pois.json                          what was asked for, the release chosen

A repeated command continues with the release that was chosen first. It keeps a table
that is unchanged since it was written.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from shapely.geometry.base import BaseGeometry

from data_prep.fetch import area as area_lib
from data_prep.fetch import asked, osm, overture, presets
from data_prep.fetch.answers import Unavailable
from data_prep.fetch.area import FetchArea
from data_prep.fetch.hosts import public
from data_prep.fetch.http import Client
from data_prep.fetch.osm import Extract
from data_prep.fetch.presets import Preset
from data_prep.fetch.request import Request
from data_prep.files import fetched
from data_prep.files.fetched import Fetched
from mmgr_jax.disk import files, refusals
from mmgr_jax.errors import InputError
from mmgr_jax.terminal import duration

STATE_FILE = "pois.json"
_OSM = "osm="
_EXTRACTS = (".pbf", ".osm")
_REGION = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)*")
_RELEASE = re.compile(r"\d{4}-\d{2}-\d{2}\.\d+")
CRS = "EPSG:4326"
ODBL = "ODbL 1.0"
MAPPERS = "OpenStreetMap contributors"
_NAMES_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class PoiSource:
    """What `--pois` names.

    Attributes:
        text: The text in the command.
        kind: "places" (Overture's GeoParquet) or "extract" (of OpenStreetMap).
        address: Address of a file or folder, or path of an extract on this machine.
        inside: The text after the colon of a preset: a release or a region.
        preset: The preset; None: an address that the command gives.
    """

    text: str
    kind: Literal["places", "extract"]
    address: str
    inside: str = ""
    preset: Preset | None = None

    @property
    def extract(self) -> Extract:
        """The extract, if the source is one."""
        suffix = self.preset.checksum if self.preset else ""
        return Extract(self.address, self.address + suffix if suffix else "")

    @property
    def named(self) -> list[str]:
        """Addresses that the command itself names."""
        return [self.address] if self.preset is None and "://" in self.address else []


def source(text: str | None) -> PoiSource | None:
    """Reads the source from `--pois`; None: no source.

    Raises:
        InputError: If the text names no source.
    """
    if not text:
        return None
    if text.startswith(_OSM):
        return PoiSource(text, "extract", text.removeprefix(_OSM))
    if "://" in text:
        if text.partition("?")[0].lower().endswith(_EXTRACTS):
            raise InputError(
                f"--pois={public(text)}: is an extract of OpenStreetMap: write "
                f"--pois={_OSM}{public(text)}."
            )
        return PoiSource(text, "places", text)
    name, _, inside = text.partition(":")
    preset = presets.preset(name, ("places", "extract"), "--pois")
    if preset.kind == "places":
        if inside and not _RELEASE.fullmatch(inside):
            raise InputError(
                f"--pois={text}: wanted: {name} for the newest release, or one of them "
                f"such as {name}:2026-09-23.1."
            )
        return PoiSource(text, "places", preset.url, inside, preset)
    if not _REGION.fullmatch(inside):
        raise InputError(
            f"--pois={text}: wanted: a region as the publisher's addresses name it, "
            f"such as {name}:europe/monaco."
        )
    address = preset.url.format(place=inside)
    return PoiSource(text, "extract", address, inside, preset)


def fetch(
    request: Request,
    area: FetchArea,
    folder: Path,
    client_of: Callable[[Request, Preset | None, str], Client],
) -> Fetched | None:
    """Fetches the POIs of a command; in a dry run, only says their size.

    Args:
        request: The command.
        area: The area.
        folder: Folder of the raw files.
        client_of: Makes the client for a preset and a way to sign.

    Returns:
        What was fetched; None after a dry run, or where no POIs are asked for.

    Raises:
        InputError: If there are no POIs, or the source cannot be read.
    """
    wanted = source(request.pois)
    if wanted is None:
        return None
    client = client_of(request, wanted.preset, request.sign or "environment")
    margin_m, dry_run = request.poi_margin_m, request.dry_run
    place = folder / "pois"
    outline = area_lib.with_margin(area, margin_m)
    question = {
        "pois": public(wanted.text) if "://" in wanted.text else wanted.text,
        "poi_margin_m": margin_m,
        "area": area.outline.wkt,
    }
    state = asked.read_state(place / STATE_FILE, question, "POIs") or {
        "question": question
    }
    if _is_done(folder, state):
        logging.info("pois: %s, as fetched before", ", ".join(state["result"]["files"]))
        return Fetched(**state["result"])
    bring = _places if wanted.kind == "places" else _elements
    result = bring(wanted, outline, client, place, state, dry_run)
    if result is None:
        return None
    result.details["margin_m"] = margin_m
    state["result"] = dataclasses.asdict(result)
    _write_state(place, state)
    logging.info("pois: %s", ", ".join(result.files))
    return result


def _places(
    wanted: PoiSource,
    outline: BaseGeometry,
    client: Client,
    place: Path,
    state: dict[str, Any],
    dry_run: bool,
) -> Fetched | None:
    chosen, places = _opened(wanted, outline, client, place, state)
    size = places.size()
    total = "" if size.total_bytes is None else f" of {size.total_bytes / 1e6:,.0f} MB"
    logging.info(
        "pois: %d of %d row group(s) in %d file(s), %s places; %s to read%s",
        size.groups,
        size.num_groups,
        size.files,
        f"{size.rows:,}",
        _amount(client, size.bytes_to_read),
        total,
    )
    if not size.groups:
        raise InputError(
            f"{public(wanted.address)}: none of its {size.num_groups} row group(s) "
            "lies over the area, so it has no POI there. Take another source."
        )
    if dry_run:
        return None
    if wanted.preset is not None:  # other addresses may hold a signature
        state["chosen"] = chosen
        _write_state(place, state)
    path = place / "overture.parquet"
    count = places.write(path)
    if count.broken:
        logging.warning("pois: %d place(s) without a readable geometry", count.broken)
    release = chosen["release"]
    licences = [name for name, _ in count.licences.most_common()]
    datasets = [name for name, _ in count.datasets.most_common(_NAMES_SHOWN)]
    usual = wanted.preset or Preset("places", wanted.address, (), "", "")
    makers = [usual.source, *(name for name in datasets if name != "Overture")]
    return Fetched(
        files=fetched.described(place.parent, path),
        source="; ".join(filter(None, makers)),
        licence=", ".join(licences) or usual.licence,
        year=int(release[:4]) if release else None,
        unit="",
        crs=CRS,
        address=public(wanted.address),
        details={
            "format": "overture",
            "release": release,
            "rows": count.rows,
            "rows_by_dataset": dict(count.datasets.most_common()),
            "rows_by_licence": dict(count.licences.most_common()),
        },
    )


def _opened(
    wanted: PoiSource,
    outline: BaseGeometry,
    client: Client,
    place: Path,
    state: dict[str, Any],
) -> tuple[dict[str, Any], overture.OverturePlaces]:
    """The release with its files, and the places in them."""
    if wanted.preset is None:
        release = "".join(_RELEASE.findall(wanted.address)[:1])
        listed = overture.parquets_in(client, wanted.address)
        chosen = {"release": release, "files": listed}
    else:
        chosen = state.get("chosen") or overture.choose(
            client, wanted.address, wanted.inside
        )
    try:
        return chosen, overture.OverturePlaces(client, chosen["files"], outline)
    except Unavailable as failure:
        if failure.kind != "missing" or "chosen" not in state or client.offline:
            raise
        raise InputError(
            f"{place}: continues with release {chosen['release']}, which its server "
            "no longer has. Remove the folder, and give the command again."
        ) from failure


def _elements(
    wanted: PoiSource,
    outline: BaseGeometry,
    client: Client,
    place: Path,
    state: dict[str, Any],
    dry_run: bool,
) -> Fetched | None:
    del state
    preset, extract = wanted.preset, wanted.extract
    header = extract.header(client)
    osm.refuse_elsewhere(extract, header, outline)
    size, have = extract.size(client)
    logging.info(
        "pois: an extract of %.1f MB%s; %s to fetch",
        size / 1e6,
        f" of {header.time:%Y-%m-%d}" if header and header.time else "",
        _amount(client, max(size - have, 0)),
    )
    if dry_run:
        return None
    path_here = extract.file(client)
    if header is None:  # its server gives no parts of files
        header = osm.header_of(path_here)
        osm.refuse_elsewhere(extract, header, outline)
    path = place / "osm.parquet"
    count, rows = osm.write_pois(extract, path_here, outline, path)
    time = header.time if header else None
    return Fetched(
        files=fetched.described(place.parent, path),
        source=preset.source if preset else MAPPERS,
        licence=ODBL,
        year=None if time is None else time.year,
        unit="",
        crs=CRS,
        address="" if extract.is_here else extract.name,
        details={
            "format": "osm",
            "data_time": None if time is None else time.isoformat(),
            "rows": rows,
            "pois": count,
            "extract": {"bytes": size, "sha256": fetched.sha256(path_here)},
        },
    )


def _amount(client: Client, count: int) -> str:
    """Bytes in words, and how long they will take at the speed so far."""
    received, seconds = client.received
    time = f" ({duration(count * seconds / received)})" if received and count else ""
    return f"{count / 1e6:,.1f} MB{time}"


def _write_state(place: Path, state: dict[str, Any]) -> None:
    with refusals.explained(place):
        files.write_text(place / STATE_FILE, json.dumps(state, indent=1))


def _is_done(folder: Path, state: dict[str, Any]) -> bool:
    """Whether the table is there as it was written."""
    known = state.get("result", {}).get("files", {})
    for name, about in known.items():
        path = folder / name
        if not path.is_file() or fetched.sha256(path) != about["sha256"]:
            return False
    return bool(known)
