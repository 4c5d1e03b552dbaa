"""Lists the files in a folder of an object store or of a web server.

It reads three kinds of answers: of S3 and compatible stores (ListObjectsV2), of Azure's
blobs, and pages of links that web servers make for a folder.
"""

from __future__ import annotations

import dataclasses
import html.parser
from collections.abc import Iterator
from urllib.parse import (
    parse_qsl,
    quote,
    unquote,
    urlencode,
    urljoin,
    urlsplit,
    urlunsplit,
)
from xml.etree import ElementTree

from data_prep.fetch.hosts import public
from data_prep.fetch.http import Client
from mmgr_jax.errors import InputError

_S3_HOST = ".amazonaws.com"
_AZURE_HOST = ".blob.core.windows.net"
_PAST = "~"  # sorts behind what lies in a folder
_MOST_PAGES = 1000


@dataclasses.dataclass(frozen=True)
class Listed:
    """A file, or a folder, that a listing names.

    Attributes:
        name: The last part of its path.
        address: Its address; for a folder in a bucket, the address of its listing.
        is_folder: Whether it is a folder.
        size: Size of a file in bytes; None where the listing does not say.
    """

    name: str
    address: str
    is_folder: bool
    size: int | None = None


def files_in(client: Client, address: str) -> list[Listed]:
    """Returns the files of a folder by name.

    Args:
        client: Who asks.
        address: Address of a folder, ending in "/", or of its listing: a bucket with
            "?list-type=2&prefix=...", a container with "?comp=list&prefix=...".

    Raises:
        InputError: If the answer is no listing, or its next page is missing.
    """
    return [one for one in _listed(client, address) if not one.is_folder]


def folders_in(client: Client, address: str) -> list[Listed]:
    """Returns the folders in a folder by name, like `files_in`."""
    return [one for one in _listed(client, address) if one.is_folder]


def below(folder: str, path: str) -> str:
    """Returns the address of a folder within another one, or of its listing."""
    parts = urlsplit(folder)
    query = dict(parse_qsl(parts.query))
    if "prefix" in query:
        query["prefix"] += path
        return urlunsplit(parts._replace(query=urlencode(query)))
    return folder + path


def is_folder(address: str) -> bool:
    """Whether an address names a folder or its listing, not a file."""
    parts = urlsplit(address)
    asked = dict(parse_qsl(parts.query))
    return (
        parts.path.endswith("/")
        or asked.get("list-type") == "2"
        or asked.get("comp") == "list"
    )


def listing_of(folder: str) -> str:
    """Returns the address of the listing of a folder in a known object store."""
    parts = urlsplit(folder)
    host = (parts.hostname or "").lower()
    path = unquote(parts.path).lstrip("/")
    if parts.query:
        return folder
    if host.endswith(_S3_HOST):
        query = {"list-type": "2", "prefix": path, "delimiter": "/"}
        return f"{parts.scheme}://{parts.netloc}/?{urlencode(query)}"
    if host.endswith(_AZURE_HOST):
        container, _, prefix = path.partition("/")
        query = {"restype": "container", "comp": "list", "prefix": prefix}
        query["delimiter"] = "/"
        return f"{parts.scheme}://{parts.netloc}/{container}?{urlencode(query)}"
    return folder


def _listed(client: Client, address: str) -> list[Listed]:
    listing = listing_of(address)
    asked = dict(parse_qsl(urlsplit(listing).query))
    if asked.get("list-type") == "2":
        pages = _s3(client, listing)
    elif asked.get("comp") == "list":
        pages = _azure(client, listing)
    else:
        pages = iter([_links(client, listing)])
    names: dict[str, Listed] = {}
    for number, page in enumerate(pages):
        new = {one.address: one for one in page if one.address not in names}
        if number >= _MOST_PAGES or (number and not new):
            raise InputError(
                f"{public(address)}: its listing cannot be followed: page "
                f"{number + 1} names nothing new. Name the file itself."
            )
        names |= new
    return sorted(names.values(), key=lambda one: one.address)


def _s3(client: Client, listing: str) -> Iterator[list[Listed]]:
    """Pages of a bucket; each begins behind the last name of the one before.

    Not by its continuation token: a token in an address is a secret, which the cache
    does not tell apart.
    """
    query = dict(parse_qsl(urlsplit(listing).query))
    while True:
        address = _asking(listing, query)
        root = _xml(client.document(address), "ListBucketResult", address)
        files = {
            _text(part, "Key"): _text(part, "Size")
            for part in root.iterfind("Contents")
        }
        folders = [_text(part, "Prefix") for part in root.iterfind("CommonPrefixes")]
        yield _named_in(listing, files, folders)
        if _text(root, "IsTruncated") != "true":
            return
        query["start-after"] = max([*files, *(name + _PAST for name in folders), ""])


def _azure(client: Client, listing: str) -> Iterator[list[Listed]]:
    """Pages of a container."""
    query = dict(parse_qsl(urlsplit(listing).query))
    while True:
        address = _asking(listing, query)
        root = _xml(client.document(address), "EnumerationResults", address)
        files = {
            _text(part, "Name"): _text(part, "Properties/Content-Length")
            for part in root.iterfind("Blobs/Blob")
        }
        folders = [_text(part, "Name") for part in root.iterfind("Blobs/BlobPrefix")]
        yield _named_in(listing, files, folders)
        query["marker"] = _text(root, "NextMarker")
        if not query["marker"]:
            return


def _asking(listing: str, query: dict[str, str]) -> str:
    return urlunsplit(urlsplit(listing)._replace(query=urlencode(query)))


def _named_in(listing: str, files: dict[str, str], folders: list[str]) -> list[Listed]:
    """What a page of a bucket or a container names."""
    parts = urlsplit(listing)
    root = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/"
    query = dict(parse_qsl(parts.query))
    return [
        *(
            Listed(_last(key), root + quote(key, "/=~"), False, _number(size))
            for key, size in files.items()
        ),
        *(
            Listed(_last(name), _asking(listing, {**query, "prefix": name}), True)
            for name in folders
        ),
    ]


class _Links(html.parser.HTMLParser):
    """The addresses that a page links."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps where a link leads."""
        self.links += [
            place for name, place in attrs if tag == "a" and name == "href" and place
        ]


def _links(client: Client, folder: str) -> list[Listed]:
    """What a page links that lies in its folder."""
    page = _Links()
    page.feed(client.document(folder).decode("utf-8", "replace"))
    start = folder.partition("?")[0]
    places = {urljoin(folder, link).partition("#")[0] for link in page.links}
    return [
        Listed(_last(unquote(place)), place, place.endswith("/"))
        for place in places
        if place.startswith(start) and place != start and "?" not in place
    ]


def _xml(data: bytes, kind: str, address: str) -> ElementTree.Element:
    """The root of a document, its names without their namespace.

    Raises:
        InputError: If it is of another kind, or declares entities.
    """
    try:
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise ElementTree.ParseError("it declares a document type")
        root = ElementTree.fromstring(data)
        for part in root.iter():
            part.tag = str(part.tag).rpartition("}")[2]
        if root.tag != kind:
            raise ElementTree.ParseError(f"it is an XML document <{root.tag[:40]}>")
    except ElementTree.ParseError as error:
        raise InputError(
            f"{public(address)}: is not a listing of files ({error}; wanted: {kind}). "
            "Name the file itself, or a folder that ends in /."
        ) from error
    return root


def _text(part: ElementTree.Element, path: str) -> str:
    return part.findtext(path) or ""


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None
