"""Finds scenes of an area in a STAC catalogue: a search API, or static files."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from data_prep.fetch.area import FetchArea
from data_prep.fetch.hosts import public
from data_prep.fetch.http import Client
from data_prep.fetch.scenes import Scene
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.extras import install

if TYPE_CHECKING:
    import pystac

_USUAL_ASSETS = ("visual", "image", "data", "default")
_TIFF = ("image/tiff", "image/vnd.stac.geotiff", "application/x-geotiff")
_MOST_ITEMS = 2_000


@dataclasses.dataclass(frozen=True)
class Search:
    """What to look for.

    Attributes:
        address: Address of the catalogue, or of one collection or item in it.
        collections: Names of collections; empty: all collections.
        begin: First day.
        end: Last day.
        max_cloud: Largest cloud cover in percent; scenes without cloud information are
            taken.
        assets: Names of the files of a scene: one, or one for each band; empty: the
            usual one.
        skip: Names of scenes to leave out.
    """

    address: str
    collections: tuple[str, ...]
    begin: dt.date | None
    end: dt.date | None
    max_cloud: float | None
    assets: tuple[str, ...]
    skip: tuple[str, ...]


def search(client: Client, wanted: Search, area: FetchArea) -> list[Scene]:
    """Returns the scenes of an area that match the search.

    Raises:
        InputError: If the catalogue cannot be read, a member of it is missing, or no
            scene matches.
    """
    try:
        import pystac  # noqa: F401
        import pystac_client  # noqa: F401
    except ImportError as error:
        raise InputError(
            "reading STAC catalogues needs pystac-client, which is not installed: "
            f"{install('fetch')}."
        ) from error
    scenes: dict[str, Scene] = {}
    collections: dict[str, pystac.Collection | None] = {}
    count = 0
    for item in _items(client, wanted, area):
        count += 1
        if count > _MOST_ITEMS:
            raise InputError(
                f"{public(wanted.address)}: has more than {_MOST_ITEMS:,} scenes in "
                "the area; name --collections, or fewer days by --dates."
            )
        if item.id not in wanted.skip and _fits(item, wanted, area):
            whole = collections.get(item.collection_id or "")
            if whole is None and item.collection_id:
                whole = item.get_collection()
                collections[item.collection_id] = whole
            scenes[f"{item.collection_id}/{item.id}"] = _scene(item, whole, wanted)
    if not scenes:
        raise InputError(
            f"{public(wanted.address)}: none of {count} scene(s) fits: {area.name}, "
            f"days {wanted.begin or 'any'} to {wanted.end or 'any'}, clouds up to "
            f"{'any' if wanted.max_cloud is None else f'{wanted.max_cloud:g} %'}. "
            "Widen --dates or --max_cloud, or take another source."
        )
    return list(scenes.values())


def _items(client: Client, wanted: Search, area: FetchArea) -> Iterator[pystac.Item]:
    """Items of a catalogue, those of other places and days left out where it can."""
    text = client.document(wanted.address)
    root = _json(text, wanted.address)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if "conformsTo" in root:
                yield from _of_api(client, wanted, area)
            else:
                yield from _of_files(client, wanted, area)
        except InputError:
            raise
        except Exception as error:  # pystac's own, and of whatever a document holds
            if (inner := _input_error(error)) is not None:
                raise inner from error
            cause = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise InputError(
                f"{public(wanted.address)}: cannot be read as a STAC catalogue "
                f"({cause}). Name the address of catalog.json, of a collection, or of "
                "an API."
            ) from error


def _input_error(error: BaseException | None) -> InputError | None:
    """What our client said, where pystac hides it behind an error of its own."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def _of_api(client: Client, wanted: Search, area: FetchArea) -> Iterator[pystac.Item]:
    from pystac_client import Client as StacApi
    from pystac_client.stac_api_io import StacApiIO

    class ApiIo(StacApiIO):
        """pystac-client's questions, asked by our client."""

        def __init__(self) -> None:
            super().__init__(max_retries=None)

        def request(
            self,
            href: str,
            method: str | None = None,
            headers: dict[str, str] | None = None,
            parameters: dict[str, Any] | None = None,
        ) -> str:
            return _ask(client, href, method, headers, parameters)

        def read_text(self, source: Any, *given: Any, **named: Any) -> str:
            if isinstance(source, str):
                return self.request(source, *given, **named)
            link = source.to_dict()  # the next page
            body = link.get("body", {})
            if link.get("merge"):
                body = {**(named.get("parameters") or {}), **body}
            return self.request(
                link["href"], link.get("method"), link.get("headers"), body
            )

    api = StacApi.open(wanted.address, stac_io=ApiIo())
    begin, end = wanted.begin, wanted.end
    period = f"{begin or '..'}/{end or '..'}" if begin or end else None
    matches = api.search(
        collections=list(wanted.collections) or None,
        bbox=list(area.bounds_deg),
        datetime=period,
        max_items=_MOST_ITEMS + 1,
    )
    yield from matches.items()


def _of_files(client: Client, wanted: Search, area: FetchArea) -> Iterator[pystac.Item]:
    import pystac

    class FilesIo(pystac.StacIO):
        """Documents of a static catalogue; nothing of this machine's disk."""

        def read_text(self, source: Any, *_: Any, **__: Any) -> str:
            return _ask(client, str(os.fspath(source)), None, None, None)

        def write_text(self, dest: Any, txt: str, *_: Any, **__: Any) -> None:
            raise NotImplementedError

    io = FilesIo()
    root = io.read_stac_object(wanted.address)
    if isinstance(root, pystac.Item):
        yield root
        return
    assert isinstance(root, pystac.Catalog)
    root.set_root(root)
    root._stac_io = io  # what its links are read by
    yield from _below(root, wanted, area)


def _below(
    catalogue: pystac.Catalog, wanted: Search, area: FetchArea, inside: bool = False
) -> Iterator[pystac.Item]:
    """Items of a static catalogue; collections elsewhere are not opened further."""
    import pystac

    if isinstance(catalogue, pystac.Collection):
        if wanted.collections and not inside and catalogue.id not in wanted.collections:
            return
        inside = True
        boxes = [_flat_box(box) for box in catalogue.extent.spatial.bboxes]
        if boxes and not any(map(area.outline.intersects, boxes)):
            return
    if inside or not wanted.collections:
        yield from catalogue.get_items()
    for child in catalogue.get_children():
        yield from _below(child, wanted, area, inside)


def _flat_box(box: Sequence[float]) -> BaseGeometry:
    """A box of STAC without its heights."""
    west, south, east, north = *box[:2], *box[len(box) // 2 :][:2]
    return shapely.box(west, south, east, north)


def _ask(
    client: Client,
    href: str,
    method: str | None,
    headers: Mapping[str, str] | None,
    parameters: Mapping[str, Any] | None,
) -> str:
    if (method or "GET").upper() == "POST":
        body = json.dumps(parameters or {}, sort_keys=True).encode()
        sent = {**(headers or {}), "Content-Type": "application/json"}
        return client.document(href, body=body, headers=sent).decode()
    if parameters:
        texts = {key: _as_query(value) for key, value in parameters.items()}
        href += ("&" if "?" in href else "?") + urlencode(texts)
    return client.document(href, headers=headers).decode()


def _as_query(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, Mapping) else str(value)


def _fits(item: pystac.Item, wanted: Search, area: FetchArea) -> bool:
    if item.geometry is None or not shape(item.geometry).intersects(area.outline):
        return False
    cloud = item.properties.get("eo:cloud_cover")
    if wanted.max_cloud is not None and cloud is not None:
        if float(cloud) > wanted.max_cloud:
            return False
    first, last = _period(item)
    if first is None or last is None:
        return not (wanted.begin or wanted.end)
    return not (
        (wanted.begin and last.date() < wanted.begin)
        or (wanted.end and first.date() > wanted.end)
    )


def _period(item: pystac.Item) -> tuple[dt.datetime | None, dt.datetime | None]:
    if item.datetime is not None:
        return item.datetime, item.datetime
    return item.common_metadata.start_datetime, item.common_metadata.end_datetime


def _scene(
    item: pystac.Item, collection: pystac.Collection | None, wanted: Search
) -> Scene:
    addresses = []
    for name in wanted.assets or (_usual_asset(item),):
        asset = item.assets.get(name)
        if asset is None:
            raise InputError(
                f"{item.id}: has no asset {name!r}, which --assets names; it has "
                f"{', '.join(item.assets)}."
            )
        addresses.append(_address(item, asset))
    last = _period(item)[1]
    code = item.properties.get("proj:code") or item.properties.get("proj:epsg") or ""
    cloud = item.properties.get("eo:cloud_cover")
    licence = item.properties.get("license") or getattr(collection, "license", "")
    providers = item.properties.get("providers") or []
    names = [str(one.get("name", "")) for one in providers]
    if not names and collection is not None:
        names = [one.name for one in collection.providers or ()]
    return Scene(
        name=item.id,
        addresses=tuple(addresses),
        time=last.astimezone(dt.UTC).isoformat() if last else "",
        cloud=None if cloud is None else float(cloud),
        outline=item.geometry,
        crs=f"EPSG:{code}" if str(code).isdigit() else str(code),
        licence=str(licence or ""),
        source=", ".join(names),
    )


def _address(item: pystac.Item, asset: pystac.Asset) -> str:
    address = asset.get_absolute_href() or asset.href
    if not address.startswith(("https://", "http://")):
        raise InputError(
            f"{item.id}: its file is {public(address)}; only https:// is allowed. "
            "Name a catalogue with https:// addresses, or another source."
        )
    return address


def _usual_asset(item: pystac.Item) -> str:
    """The asset that shows the scene.

    Raises:
        InputError: If nothing says which one does.
    """
    tiffs = [
        name
        for name, asset in item.assets.items()
        if (asset.media_type or "").lower().startswith(_TIFF)
        or asset.href.partition("?")[0].lower().endswith((".tif", ".tiff"))
    ]
    usual = [name for name in _USUAL_ASSETS if name in tiffs]
    if usual or len(tiffs) == 1:
        return (usual or tiffs)[0]
    raise InputError(
        f"{item.id}: has the files {', '.join(tiffs) or 'none that is a GeoTIFF'}; "
        "name one with all bands, or one each for red, green and blue, by "
        "--assets=red,green,blue."
    )


def _json(text: bytes, address: str) -> dict[str, Any]:
    try:
        document = files.from_json(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise InputError(
            f"{public(address)}: is not a STAC catalogue (its answer is not JSON). "
            "Name the address of catalog.json, of a collection, or of an API."
        )
    return document


def collect_licences(scenes: Iterable[Scene]) -> str:
    """Returns what the scenes of a mosaic say about their licence."""
    return ", ".join(dict.fromkeys(scene.licence for scene in scenes if scene.licence))


def collect_sources(scenes: Sequence[Scene]) -> str:
    """Returns who made the scenes of a mosaic."""
    return ", ".join(dict.fromkeys(scene.source for scene in scenes if scene.source))
