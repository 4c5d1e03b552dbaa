"""Reads a file on a server in blocks as if it were local, for GDAL and Parquet.

GDAL's own network access stays closed (`data_prep.files.formats`): it would follow any
redirect, and take the rest of a broken connection for pixels. GDAL reads through this
module instead.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rasterio

from data_prep.fetch.cache import Version
from data_prep.fetch.hosts import public
from data_prep.fetch.http import Client
from data_prep.files import formats
from mmgr_jax.errors import InputError

BLOCK_BYTES = 256 * 1024
MOST_WHOLE_BYTES = 4 * 2**30
"""A file that its server gives only whole is fetched up to this size."""

_KEPT_BLOCKS = 64
_MOST_AT_ONCE = 32

log = logging.getLogger(__name__)


class _Placed(io.RawIOBase):
    """A file of known size, and the place where its next reading begins."""

    def __init__(self, size: int) -> None:
        self.size, self._place = size, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next reading begins."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}
        self._place = max(0, start[whence] + offset)
        return self._place


class RemoteFile(_Placed):
    """Reads a file from its server, each block once; blocks stay in the cache.

    Attributes:
        failure: The error of a read, kept here because C libraries swallow exceptions.
    """

    def __init__(self, client: Client, address: str, *, whole: bool = False) -> None:
        """Asks for size and version.

        Args:
            client: Who asks.
            address: Of the file.
            whole: Fetch all of it, up to `MOST_WHOLE_BYTES`, into the cache where the
                server gives no parts of files.

        Raises:
            Unavailable: If there is no such file.
            InputError: If the server gives no parts of it.
        """
        self._may_come_whole = whole
        self._whole: Path | None = None
        self._client, self._address = client, address
        self._entry = client.cache.entry(address)
        self._about = self._version()
        assert self._about.size is not None
        super().__init__(self._about.size)
        self.failure: InputError | None = None
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    @contextlib.contextmanager
    def explained(
        self,
        damaged: tuple[type[Exception], ...],
        sentence: Callable[[Exception], InputError],
    ) -> Iterator[None]:
        """Raises the error of a read inside the block, whatever a library made of it.

        Args:
            damaged: Exceptions that the library raises where the content is damaged.
            sentence: The sentence about such damage.

        Raises:
            InputError: About the server if it failed; otherwise with the sentence.
        """
        self.failure = None
        try:
            yield
        except InputError:
            raise
        except damaged as error:
            raise self.failure or sentence(error) from error
        if self.failure is not None:  # the library went on with what it had
            raise self.failure

    def _version(self) -> Version:
        known = self._entry.about()
        if self._client.offline and known is not None and known.size is not None:
            self._whole = self._entry.body if self._entry.body.is_file() else None
            return known
        about, has_ranges = self._client.look(self._address)
        if not has_ranges or about.size is None:
            return self._fetched_whole(about.size)
        self._entry.describe(about, self._address)
        return about

    def _fetched_whole(self, size: int | None) -> Version:
        name = public(self._address)
        if not self._may_come_whole or size is None or size > MOST_WHOLE_BYTES:
            raise InputError(
                f"{name}: its server does not send parts of files, so no windows can "
                "be read. Download it, and name the downloaded file."
            )
        log.info(
            "%s: its server does not send parts of files, so all %.0f MB are fetched",
            name, size / 1e6,
        )  # fmt: skip
        self._whole = self._client.file(self._address)
        return Version(size=self._whole.stat().st_size)

    def read(self, size: int | None = -1) -> bytes:
        """Returns the next bytes; fewer only at the end of the file.

        Raises:
            Unavailable: If the server does not give them; see also `failure`.
        """
        end = self.size if size is None or size < 0 else self._place + size
        end = min(end, self.size)
        if end <= self._place:
            return b""
        if self._whole is not None:
            with self._whole.open("rb") as file:
                file.seek(self._place)
                data = file.read(end - self._place)
            self._place = end
            return data
        first, last = self._place // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        try:
            data = b"".join(self._range(first, last))
        except InputError as error:
            self.failure = error
            raise
        start = self._place - first * BLOCK_BYTES
        data = data[start : start + end - self._place]
        self._place = end
        return data

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _range(self, first: int, last: int) -> list[bytes]:
        """Blocks, with one question for those that lie side by side and lack."""
        blocks: dict[int, bytes] = {}
        lacking: list[int] = []
        for index in range(first, last + 1):
            data = self._blocks.get(index) or self._entry.block(
                index, self._block_bytes(index)
            )
            if data is None:
                lacking.append(index)
            else:
                blocks[index] = data
        while lacking:
            run = 1
            while run < min(len(lacking), _MOST_AT_ONCE) and (
                lacking[run] == lacking[0] + run
            ):
                run += 1
            for index, data in self._fetched(lacking[0], run):
                self._entry.keep_block(index, data)
                blocks[index] = data
            del lacking[:run]
        for index, data in blocks.items():
            self._blocks[index] = data
            self._blocks.move_to_end(index)
        while len(self._blocks) > _KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return [blocks[index] for index in range(first, last + 1)]

    def _fetched(self, first: int, count: int) -> Iterator[tuple[int, bytes]]:
        start = first * BLOCK_BYTES
        end = min(start + count * BLOCK_BYTES, self.size)
        data = self._client.part(self._address, start, end - 1, self._about)
        for offset in range(0, len(data), BLOCK_BYTES):
            yield first + offset // BLOCK_BYTES, data[offset : offset + BLOCK_BYTES]

    def _block_bytes(self, index: int) -> int:
        return min(BLOCK_BYTES, self.size - index * BLOCK_BYTES)


class RemoteRaster:
    """A GeoTIFF on a server that GDAL opens over our own connections."""

    def __init__(self, client: Client, address: str, *, whole: bool = False) -> None:
        """Asks for size and version; opens nothing yet.

        Args:
            client: Who asks.
            address: Of the GeoTIFF.
            whole: As for `RemoteFile`.

        Raises:
            Unavailable: If there is no such file.
        """
        self.file = RemoteFile(client, address, whole=whole)
        self.name = public(address).partition("://")[2].partition("?")[0]

    def dataset(self, **options: Any) -> rasterio.DatasetReader:
        """Opens the raster; call inside `formats.settings` and `reading`."""
        path = self.name.replace(":", "_")

        def handle(asked: str, *_: object, **__: object) -> io.RawIOBase:
            if asked == path:
                return _Handle(self.file)
            raise FileNotFoundError(asked)  # files beside it are not looked for

        return rasterio.open(path, driver="GTiff", opener=handle, **options)

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Turns any failure inside the block into one sentence about the file.

        Raises:
            InputError: About the server if it failed; otherwise about the format.
        """
        return self.file.explained(formats.DAMAGED, self._damaged)

    def _damaged(self, error: BaseException) -> InputError:
        return InputError(
            f"{self.name}: cannot be read as a GeoTIFF ({_first(error)}). Is it "
            "damaged, or of another format? Leave it out with --skip."
        )


class _Handle(_Placed):
    """A place of its own in a file that several read."""

    def __init__(self, file: RemoteFile) -> None:
        super().__init__(file.size)
        self._file = file

    def read(self, size: int | None = -1) -> bytes:
        self._file.seek(self._place)
        try:
            data = self._file.read(size)
        except InputError:
            return b""  # `RemoteFile.failure` keeps it; C has no exceptions
        self._place += len(data)
        return data


def _first(error: BaseException) -> str:
    cause = error.__cause__ or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0].rstrip(".")
