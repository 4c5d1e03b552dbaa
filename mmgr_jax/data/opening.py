"""Opens the records that a run is trained on; see `config.corpus`."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmgr_jax import addresses
from mmgr_jax.data import remote, schema
from mmgr_jax.data.corpus import Corpus
from mmgr_jax.data.settings import CorpusSettings, DataSettings
from mmgr_jax.data.source import RecordSource, RegionSource
from mmgr_jax.disk import locks
from mmgr_jax.errors import InputError

_OPENED_AT_ONCE = 8


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder of records that the settings name.

    Attributes:
        path: The folder, or its address on object storage.
        weight: Weight of its city.
        entry: What names it.
    """

    path: Path | str
    weight: float
    entry: str


def open_training(
    corpus: CorpusSettings, records_dir: str, data: DataSettings
) -> RegionSource:
    """What a run is trained on: a corpus, or the one folder where none is named.

    Args:
        corpus: The section `corpus`.
        records_dir: `config.records.dir`.
        data: The section `data`; tiles stay in memory where all of them fit.

    Raises:
        InputError: If records are missing or damaged, or do not fit each other.
    """
    if not corpus.records:
        return RecordSource(records_dir, cache_mib=data.cache_mib)
    named = folders(corpus)
    with ThreadPoolExecutor(_OPENED_AT_ONCE) as threads:
        cities = list(threads.map(lambda one: RecordSource(one.path), named))
    whole = Corpus(cities, corpus, [one.weight for one in named])
    if whole.tiles_bytes <= data.cache_mib * 2**20:
        for city in cities:
            city.keep()
    return whole


@contextlib.contextmanager
def kept(corpus: CorpusSettings, records_dir: str) -> Iterator[None]:
    """Within it nobody replaces the records that a run is trained or evaluated on."""
    # A copy of records on object storage is kept by the source that reads it.
    places = [records_dir, *corpus.records]
    entries = [place for place in places if not addresses.is_address(place)]
    paths = {path.resolve() for entry in entries for path in map(Path, _fitting(entry))}
    with contextlib.ExitStack() as stack:
        for path in paths:
            stack.enter_context(locks.kept(path / schema.MANIFEST_FILE))
        yield


def folders(corpus: CorpusSettings) -> list[Folder]:
    """The folders that the settings name, patterns replaced by what fits them.

    Raises:
        InputError: If a pattern fits nothing, a folder is named twice, or there is not
            one weight for each entry.
    """
    entries = corpus.records
    if corpus.weights and len(corpus.weights) != len(entries):
        raise InputError(
            f"config.corpus.weights has {len(corpus.weights)} numbers for the "
            f"{len(entries)} entries of config.corpus.records; give one each, or none."
        )
    named: dict[Path | str, Folder] = {}
    for entry, weight in zip(
        entries, corpus.weights or [1.0] * len(entries), strict=True
    ):
        if not (paths := _fitting(entry)):
            raise InputError(
                f"config.corpus.records: no folder fits {entry!r}. Name folders of "
                "records, or build them with `python -m data_prep.build --config=...`."
            )
        for path in paths:
            place = path.resolve() if isinstance(path, Path) else path
            if before := named.get(place):
                raise InputError(
                    f"config.corpus.records: {path} is named twice, by "
                    f"{before.entry!r} and by {entry!r}. Name each folder once."
                )
            named[place] = Folder(path, weight, entry)
    return list(named.values())


def _fitting(entry: str) -> Sequence[Path | str]:
    """The folders or addresses that an entry names."""
    if addresses.is_address(entry):
        return remote.folders(entry)
    path = Path(entry)
    if not glob.has_magic(entry) or path.is_dir():
        return [path]
    return [path for path in map(Path, sorted(glob.glob(entry))) if path.is_dir()]
