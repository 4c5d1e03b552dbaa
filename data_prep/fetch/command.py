"""Runs `python -m data_prep.fetch`: from an area to a config, in this order.

1. Find the area.
2. Choose scenes, and write their mosaic window by window.
3. Write next to the files who made them. 4. Write the config of the fetched files;
build records if the command says so.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from data_prep.fetch import area as area_lib
from data_prep.fetch import (
    catalogue,
    days,
    grid,
    imagery,
    labels,
    onward,
    pois,
    presets,
    scenes,
    signing,
    tiles,
)
from data_prep.fetch.area import FetchArea
from data_prep.fetch.cache import Cache
from data_prep.fetch.hosts import Hosts, public
from data_prep.fetch.http import Client
from data_prep.fetch.presets import Preset
from data_prep.fetch.request import Request
from data_prep.files import fetched
from data_prep.files.fetched import Fetched
from mmgr_jax import summary
from mmgr_jax.data import server
from mmgr_jax.disk import locks, refusals
from mmgr_jax.errors import InputError
from mmgr_jax.terminal import duration

_WAITS_S = server.WAITS_S


def fetch(request: Request) -> Path | None:
    """Fetches what a command asks for; continues a command that was stopped.

    Returns:
        The folder; None after a dry run.

    Raises:
        InputError: If anything is wrong with the command, a source or a connection;
            says so in one sentence. What was fetched stays.
    """
    if not request.out:
        raise InputError("--out is missing: name a folder, such as data/my_city/raw.")
    if not (_images_named(request) or request.pois or request.labels):
        raise InputError(
            "there is nothing to fetch: name --imagery=PRESET or an address of a "
            "STAC catalogue, --cog=ADDRESS,..., --tiles=ADDRESS, --pois=SOURCE or "
            "--labels=NAME=ADDRESS. See --help."
        )
    if len(ways := _images_named(request)) > 1:
        raise InputError(
            f"{' and '.join(f'--{way}' for way in ways)}: name only one of them."
        )
    wanted = [labels.source(text) for text in request.labels]
    folder = Path(request.out)
    client = _client(request, None, "environment")
    area = _area(request, client)
    west, south, east, north = area.bounds_deg
    logging.info("area: %.5f,%.5f,%.5f,%.5f (W,S,E,N)", west, south, east, north)
    has_images = bool(_images_named(request))
    if request.dry_run:
        if has_images:
            _images(request, area, folder)
        pois.fetch(request, area, folder, _client)
        for label in wanted:
            labels.fetch(label, request, area, folder, _client)
        return None
    with refusals.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f".{folder.name}.lock")
        with locks.held(lock, "fetching raw files", "name another --out"):
            parts: dict[str, Fetched | None] = {}
            parts["pois"] = pois.fetch(request, area, folder, _client)
            for label in wanted:
                fetched_label = labels.fetch(label, request, area, folder, _client)
                parts[label.name] = fetched_label
            if has_images:
                parts["imagery"] = _images(request, area, folder)
            about = {
                "name": area.name,
                "source": area.source,
                "outline": area_lib.as_json(area),
            }
            path = fetched.write(folder, about, parts)
    figures = [_figure(name, part) for name, part in parts.items() if part]
    summary.end(figures, {"files": folder, "sources and licences": path})
    return folder


def _figure(name: str, part: Fetched) -> str:
    size_mb = sum(known["bytes"] for known in part.files.values()) / 1e6
    return f"{name}: {len(part.files)} file(s), {size_mb:,.1f} MB"


def fetch_and_go_on(request: Request) -> None:
    """Fetches, writes the config of the files, and builds if the command says so.

    Raises:
        InputError: If anything is wrong; says so in one sentence.
    """
    if request.out:
        onward.config_path(request)
    with summary.together():
        folder = fetch(request)
        if folder is None:
            return
        config = onward.write_config(request, folder)
        if request.build:
            onward.build_records(config)


def _client(request: Request, preset: Preset | None, sign: str) -> Client:
    """Who asks: those hosts that the command or its preset names."""
    named = [*request.cog, *request.allow_hosts, *filter(None, [request.tiles])]
    places = pois.source(request.pois)
    named += places.named if places else []
    named += [place for text in request.labels for place in labels.source(text).named]
    named += [place for place in (request.imagery, request.geocoder) if _is_url(place)]
    known = [] if preset is None else [_host(preset.url), *preset.hosts]
    if sign == "planetary_computer":
        known.append(_host(signing.PLANETARY_COMPUTER))
    hosts = Hosts(cast(list[str], named), known)
    cache = Cache(Path(request.cache).expanduser())
    plain = Client(hosts, cache, offline=request.offline, waits_s=_WAITS_S)
    signer = signing.SIGNERS[sign](plain)
    return Client(
        hosts, cache, offline=request.offline, signer=signer, waits_s=_WAITS_S
    )


def _area(request: Request, client: Client) -> FetchArea:
    ways = [name for name in ("bbox", "area", "place") if getattr(request, name)]
    if len(ways) != 1:
        raise InputError(
            f"{' and '.join(f'--{way}' for way in ways) or 'no area'}: name one of "
            "--bbox=W,S,E,N, --area=FILE and --place=NAME."
        )
    if request.bbox:
        return area_lib.of_box(request.bbox)
    if request.area:
        return area_lib.of_file(request.area)
    if not request.geocoder:
        raise InputError(
            "--place needs a geocoder that you may use: --geocoder=ADDRESS of a search "
            "as Nominatim has it, such as https://nominatim.openstreetmap.org/search "
            "(read its usage policy)."
        )
    return area_lib.of_place(str(request.place), request.geocoder, client)


def _images(request: Request, area: FetchArea, folder: Path) -> Fetched | None:
    """Fetches the mosaic; says its size alone in a dry run."""
    preset = None
    if request.imagery and not _is_url(request.imagery):
        preset = presets.preset(request.imagery, ("stac", "service"), "--imagery")
    sign = request.sign or (preset.sign if preset else "environment")
    client = _client(request, preset, sign)
    over = grid.over(area, request.crs, request.gsd_m)
    bands = _bands(request.bands)
    place = folder / "imagery"
    service = request.tiles
    if preset is not None and preset.kind == "service":
        service = preset.url
        most = min(request.max_zoom, preset.max_zoom)
        request = dataclasses.replace(request, max_zoom=most)
    question = _question(request, over, service)
    state = imagery.read_state(place, question)
    if request.cog:
        chosen = scenes.of_addresses(request.cog)
    elif service:
        chosen = [tiles.scene_of(service, request.max_zoom)]
    elif state is not None:  # it goes on with what it chose
        chosen = imagery.scenes_of(state)
        if any(scene.is_signed for scene in chosen):
            listed = catalogue.search(client, _search(request, preset), area)
            chosen = scenes.signed_anew(chosen, listed)
    else:
        chosen = catalogue.search(client, _search(request, preset), area)
        chosen = scenes.in_order(chosen, cast(scenes.Order, request.order))
    mosaic = imagery.Mosaic(client, chosen, bands, over)
    if request.dry_run or state is None:
        _say(mosaic, client, over)
    if request.dry_run:
        mosaic.close()
        return None
    with refusals.explained(place):
        place.mkdir(exist_ok=True)
    done = mosaic.write(place, question)
    return _described(done, mosaic, over, preset, request)


def _say(mosaic: imagery.Mosaic, client: Client, over: grid.PixelGrid) -> None:
    """What the mosaic will bring, by a look at its files."""
    estimate = mosaic.estimate()
    count, seconds = client.received
    rate = count / max(seconds, 1e-9)
    logging.info(
        "imagery: %d scene(s), of which %d are visible; %s x %s pixels of %g m in "
        "%s, in %d window(s)",
        len(mosaic.scenes),
        estimate.scenes,
        f"{over.width_px:,}",
        f"{over.height_px:,}",
        over.gsd_m,
        over.crs,
        estimate.windows,
    )
    logging.info(
        "imagery: about %.0f MB to read (%s at %.1f MB/s, the rate so far), at most "
        "%.0f MB to write",
        estimate.bytes_to_read / 1e6,
        duration(estimate.bytes_to_read / rate) if rate else "time not known yet",
        rate / 1e6,
        estimate.bytes_to_write / 1e6,
    )


def _described(
    state: dict[str, Any],
    mosaic: imagery.Mosaic,
    over: grid.PixelGrid,
    preset: Preset | None,
    request: Request,
) -> Fetched:
    windows = state["windows"]
    shown = {name for known in windows.values() for name in known["scenes"]}
    used = [scene for scene in mosaic.scenes if scene.name in shown]
    years = {int(scene.time[:4]) for scene in used if scene.time}
    licence, source = catalogue.collect_licences(used), catalogue.collect_sources(used)
    if preset is not None:
        licence, source = preset.licence, preset.source
    return Fetched(
        files={
            f"imagery/{name}.tif": {key: known[key] for key in ("sha256", "bytes")}
            for name, known in windows.items()
            if known["file"]
        },
        source=source,
        licence=licence,
        year=max(years, default=None),
        unit="",
        crs=over.crs,
        address=public(request.imagery or request.tiles or ""),
        details={
            "preset": request.imagery if preset else "",
            "gsd_m": over.gsd_m,
            "years": sorted(years),
            "scenes": [scene.public() for scene in used],
        },
    )


def _search(request: Request, preset: Preset | None) -> catalogue.Search:
    begin, end = days.days(request.dates)
    return catalogue.Search(
        address=preset.url if preset else str(request.imagery),
        collections=tuple(request.collections)
        or (preset.collections if preset else ()),
        begin=begin,
        end=end,
        max_cloud=request.max_cloud,
        assets=tuple(request.assets) or (preset.assets if preset else ()),
        skip=tuple(request.skip),
    )


def _question(
    request: Request, over: grid.PixelGrid, service: str | None
) -> dict[str, Any]:
    """What tells one mosaic from another."""
    keys = ("imagery", "collections", "dates", "max_cloud", "order", "assets", "bands")
    asked = {key: getattr(request, key) for key in (*keys, "skip")}
    asked["bands"] = _bands(request.bands)
    asked["imagery"] = public(request.imagery or "")
    if service:
        asked["tiles"] = public(service)
        asked["max_zoom"] = request.max_zoom
    asked["cog"] = [public(place) for place in request.cog]
    place = {
        "crs": over.crs,
        "gsd_m": over.gsd_m,
        "corner_m": list(over.corner_m),
        "size_px": [over.width_px, over.height_px],
        "area": over.outline.wkt,
    }
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in (asked | place).items()
    }


def _bands(texts: Sequence[int | str]) -> tuple[int, ...]:
    try:
        bands = tuple(int(text) for text in texts)
    except ValueError:
        bands = ()
    if len(bands) != 3 or min(bands) < 1:
        raise InputError(
            f"--bands={','.join(map(str, texts))}: wanted: three numbers counted from "
            "1, for red, green and blue."
        )
    return bands


def _images_named(request: Request) -> list[str]:
    """The flags that say where images come from."""
    return [name for name in ("imagery", "cog", "tiles") if getattr(request, name)]


def _is_url(place: str | None) -> bool:
    return bool(place) and "://" in str(place)


def _host(address: str) -> str:
    return address.partition("://")[2].partition("/")[0]
