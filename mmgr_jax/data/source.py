"""Random access to the regions of one city, or of any other numbered collection."""

from __future__ import annotations

import abc
import functools
import itertools
import logging
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from array_record.python import array_record_data_source
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mmgr_jax import addresses, settings
from mmgr_jax.data import arrays, contents, record_format, remote, schema
from mmgr_jax.data.settings import DataSettings
from mmgr_jax.disk import refusals
from mmgr_jax.errors import InputError

_MUCH_BYTES = 2**30  # reading more than this is announced in the log

log = logging.getLogger(__name__)


class RegionSource(abc.ABC):
    """A sequence of decoded regions.

    Attributes:
        manifest: Number of regions, and what all of them have in common.
    """

    manifest: schema.Manifest

    def __len__(self) -> int:
        """Number of regions."""
        return self.manifest.num_regions

    def __getitem__(self, index: int) -> record_format.Record:
        """The decoded region at `index`; see `RecordLayout`. Do not change it.

        Raises:
            InputError: If the stored bytes are damaged.
        """
        return self.read([index], image=True)[0]

    def parts(self, size: int = 64) -> list[range]:
        """The numbers of all regions in order, at most `size` at a time, for `read`."""
        ends = [*range(0, len(self), size), len(self)]
        return [range(*pair) for pair in itertools.pairwise(ends)]

    @property
    def tiles_bytes(self) -> int:
        """Size of all tiles, decoded."""
        return len(self) * self.manifest.tile_size_px**2 * 3

    @property
    @abc.abstractmethod
    def place(self) -> str:
        """The place of the regions (such as their folder), for messages."""

    @property
    @abc.abstractmethod
    def identity(self) -> Mapping[str, str]:
        """Hashes of the parts of the records; see `schema.Manifest.identity`."""

    @abc.abstractmethod
    def read(
        self,
        indices: Sequence[int],
        *,
        image: bool = False,
        into: UInt8[np.ndarray, "n h w 3"] | list[np.ndarray] | None = None,
    ) -> list[record_format.Record]:
        """Reads several regions at once. Do not change the result.

        Args:
            indices: Numbers of the regions.
            image: Whether the records need their tiles. If False, they may lack them.
            into: Arrays to write the tiles into, one for each index.

        Raises:
            InputError: If the stored bytes are damaged.
        """

    @abc.abstractmethod
    def category_vectors(self) -> np.ndarray:
        """The vector of each POI category, float32 [k d].

        Raises:
            InputError: If the vectors are absent or do not fit the manifest.
        """


class RecordSource(RegionSource):
    """A finished records folder as a sequence of decoded regions.

    Attributes:
        records_dir: The folder. For records on object storage, the folder of the copy.
        address: Address of the records on object storage; None for a local folder.
        manifest: What the folder holds.
    """

    address: str | None = None

    def __init__(self, records_dir: str | Path, *, cache_mib: int = 0) -> None:
        """Opens the shards.

        Args:
            records_dir: The folder, or its address; see `remote`.
            cache_mib: Decoded regions are kept in memory if all of them fit in this
                many MiB. Otherwise none is kept.

        Raises:
            InputError: If the folder is unfinished; if a shard is missing, incomplete
                or not as long as the manifest says; or if the bytes of a file have
                changed since it was written. A file is read for this check once, and
                again only if its size or times have changed.
        """
        self.records_dir = Path(records_dir)
        if addresses.is_address(records_dir):
            self.address = addresses.checked(str(records_dir))
            self.records_dir, hold = remote.held_copy(self.address)
            weakref.finalize(self, hold.close)  # the copy stays as long as this source
        self.manifest = schema.Manifest.load(self.records_dir)
        self._layout = self.manifest.layout
        self._paths = self.manifest.shard_paths(self.records_dir)
        self._starts = np.cumsum((0, *self.manifest.shard_lengths))
        for path, length in zip(self._paths, self.manifest.shard_lengths, strict=True):
            _check_shard(path, length)
        self._refuse_changed()
        self._examples = array_record_data_source.ArrayRecordDataSource(
            [str(path) for path in self._paths]
        )
        self._cache: dict[int, record_format.Record] | None = None
        if self.tiles_bytes <= cache_mib * 2**20:
            self.keep()

    def __repr__(self) -> str:
        """The same text for the same records, because Grain compares it on restore."""
        return f"RecordSource({self.manifest.city!r}, regions={len(self)})"

    @property
    def place(self) -> str:
        """The folder, or its address."""
        return self.address or str(self.records_dir)

    def lies_in(self, records_dir: str | Path) -> bool:
        """Whether these records are those of the given folder or address."""
        if addresses.is_address(records_dir):
            return self.address == addresses.checked(str(records_dir))
        return self.records_dir.resolve() == Path(records_dir).resolve()

    @functools.cached_property
    def identity(self) -> Mapping[str, str]:
        """See `RegionSource.identity`."""
        return self.manifest.identity(self.records_dir)

    def keep(self) -> None:
        """Keeps every region that is decoded from now on in memory."""
        self._cache = {}

    def _refuse_changed(self) -> None:
        stamps = contents.Stamps(self.records_dir / contents.STAMPS_FILE)
        unread = sum(
            path.stat().st_size
            for path in self._paths
            if not stamps.remembered(path.name, contents.size_and_times(path))
        )
        if unread > _MUCH_BYTES:
            log.info(
                "%s: new, copied or touched since they were last read, so %.1f GiB are "
                "checked once ...",
                self.records_dir,
                unread / 2**30,
            )
        if faults := self.manifest.faults(self.records_dir):
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise InputError(f"{faults[0]}{more}. {_REBUILD}")

    def read(
        self,
        indices: Sequence[int],
        *,
        image: bool = False,
        into: UInt8[np.ndarray, "n h w 3"] | list[np.ndarray] | None = None,
    ) -> list[record_format.Record]:
        """See `RegionSource.read`."""
        if self._cache is not None:
            return self._read_cached(indices, image, into)
        wanted = [image] * len(indices) if into is None else list(into)
        return self._read(indices, wanted)

    def _read_cached(
        self,
        indices: Sequence[int],
        image: bool,
        into: UInt8[np.ndarray, "n h w 3"] | list[np.ndarray] | None,
    ) -> list[record_format.Record]:
        cache = self._cache
        assert cache is not None
        new = [index for index in dict.fromkeys(indices) if index not in cache]
        cache.update(zip(new, self._read(new, [True] * len(new)), strict=True))
        records = [cache[index] for index in indices]
        if into is not None:
            for tile, record in zip(into, records, strict=True):
                tile[...] = record["image"]
        return records

    def _read(
        self, indices: Sequence[int], wanted: Sequence[np.ndarray | bool]
    ) -> list[record_format.Record]:
        if not indices:
            return []
        try:
            examples = self._examples.__getitems__(list(indices))
        except Exception as error:  # ArrayRecord raises bare RuntimeError
            refusals.refuse_unreadable(self.records_dir, error)
            if len(indices) == 1:
                raise self._damaged(indices[0], error) from error
            return [
                self._read([index], [image])[0]
                for index, image in zip(indices, wanted, strict=True)
            ]
        return [
            self._decode(index, example, image)
            for index, example, image in zip(indices, examples, wanted, strict=True)
        ]

    def _decode(
        self, index: int, example: bytes, image: np.ndarray | bool
    ) -> record_format.Record:
        try:
            return record_format.deserialize(example, self._layout, image=image)
        except Exception as error:  # two libraries, each with errors of its own
            raise self._damaged(index, error) from error

    def _damaged(self, index: int, error: Exception) -> InputError:
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        return InputError(
            f"{self._paths[shard]}: record {index - self._starts[shard]} is damaged "
            f"({_first_line(error)}). {_REBUILD}"
        )

    def category_vectors(self) -> np.ndarray:
        """See `RegionSource.category_vectors`."""
        path = self.records_dir / schema.CATEGORY_VECTORS_FILE
        try:
            vectors = arrays.load_npy(path).astype(np.float32)
            if vectors.ndim != 2 or not np.isfinite(vectors).all():
                raise ValueError(
                    f"an array {list(vectors.shape)}, or numbers that are not finite"
                )
        except (OSError, ValueError, TypeError, MemoryError) as error:
            refusals.refuse_unreadable(path, error)
            raise InputError(f"{path}: cannot be read ({error}). {_REBUILD}") from error
        if len(vectors) != len(self.manifest.categories):
            raise InputError(
                f"{path}: {len(vectors)} rows, but {schema.MANIFEST_FILE} names "
                f"{len(self.manifest.categories)} categories. {_REBUILD}"
            )
        return vectors


_REBUILD = (
    "Put it back as it was, or remove the records folder and build it again with "
    "`python -m data_prep.build --config=...`."
)


def open_source(config: ConfigDict) -> RecordSource:
    """Opens the records that a config names.

    Raises:
        InputError: If the records are missing or damaged.
    """
    data = settings.read(DataSettings, config.data, "data")
    return RecordSource(config.records.dir, cache_mib=data.cache_mib)


def _check_shard(path: Path, length: int) -> None:
    if not path.exists():
        raise InputError(f"{path}: this shard is missing. {_REBUILD}")
    try:
        stored = len(array_record_data_source.ArrayRecordDataSource([str(path)]))
    except Exception as error:  # ArrayRecord raises bare RuntimeError and ValueError
        refusals.refuse_unreadable(path, error)
        raise InputError(
            f"{path}: not a whole ArrayRecord shard ({_first_line(error)}). {_REBUILD}"
        ) from error
    if stored != length:
        raise InputError(
            f"{path}: {stored} records, but {schema.MANIFEST_FILE} says {length}. "
            f"{_REBUILD}"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
