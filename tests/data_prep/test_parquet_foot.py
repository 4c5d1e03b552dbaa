"""Feet of Parquet files, against what Arrow reads of them."""

import io

import numpy as np
import places_world
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.fetch import parquet_foot
from data_prep.fetch.parquet_foot import FootError


def written(table, **options):
    target = io.BytesIO()
    pq.write_table(table, target, row_group_size=700, **options)
    return target.getvalue()


@pytest.fixture(scope="module")
def table():
    small = places_world.places(2_000).drop_columns(["phones"])
    extra = {
        "flag": pa.array([True, None] * 1000),
        "of_64_bits": pa.array(np.linspace(-5, 5, 2000)),
        "missing": pa.nulls(2000, pa.float32()),
        "map": pa.array([[("a", 1)]] * 2000, pa.map_(pa.string(), pa.int32())),
    }
    for name, column in extra.items():
        small = small.append_column(name, column)
    return small


@pytest.mark.parametrize(
    "options",
    [
        dict(compression="zstd"),
        dict(compression="none", use_dictionary=False, data_page_version="2.0"),
        dict(compression="snappy", write_statistics=False),
        dict(compression="gzip", write_page_index=True, version="1.0"),
        dict(compression="zstd", write_page_checksum=True, store_schema=False),
    ],
    ids=str,
)
def test_places_sizes_and_extremes_are_those_that_arrow_reads(table, options):
    data = written(table, **options)
    groups = parquet_foot.read(io.BytesIO(data), len(data))
    theirs = pq.read_metadata(io.BytesIO(data))
    assert [group.rows for group in groups] == [700, 700, 600]
    for index, group in enumerate(groups):
        names = []
        for number in range(theirs.num_columns):
            column = theirs.row_group(index).column(number)
            chunk = group.chunks[column.path_in_schema]
            names.append(column.path_in_schema)
            starts = (column.dictionary_page_offset, column.data_page_offset)
            assert chunk.start == min(start for start in starts if start is not None)
            assert chunk.packed_bytes == column.total_compressed_size
            assert chunk.unpacked_bytes == column.total_uncompressed_size
            numbers = column.statistics
            is_float = column.physical_type in ("FLOAT", "DOUBLE")
            if is_float and numbers is not None and numbers.has_min_max:
                assert chunk.extremes == (numbers.min, numbers.max)
            else:
                assert chunk.extremes is None
        assert set(names) == set(group.chunks)


def test_a_table_without_rows_has_no_row_group(table):
    data = written(table.slice(0, 0))
    assert sum(one.rows for one in parquet_foot.read(io.BytesIO(data), len(data))) == 0


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "it has 0 bytes"),
        (b"PAR1" * 3, "its footer has"),
        (b"<html>" * 9, "does not end as Parquet"),
        (b"PAR1" + b"\xff" * 40 + b"\x28\0\0\0PAR1", "its foot"),
        (b"PAR1" + b"\x1c" * 90 + b"\x5a\0\0\0PAR1", "nested too deep"),
        (b"PAR1\x19\xf8\xff\xff\xff\xff\x0f\x07\0\0\0PAR1", "its footer is cut"),
    ],
)
def test_what_is_no_foot(data, sentence):
    with pytest.raises(FootError, match=sentence):
        parquet_foot.read(io.BytesIO(data), len(data))


def test_damaged_feet_are_told_whatever_stands_in_them(table):
    data = written(table.slice(0, 900))
    foot = int.from_bytes(data[-8:-4], "little")
    rng = np.random.default_rng(0)
    seen = {"fine": 0, "told": 0}
    for _ in range(150):
        changed = bytearray(data[-foot - 8 :])
        for place in rng.integers(0, len(changed) - 8, rng.integers(1, 9)):
            changed[place] = rng.integers(0, 256)
        try:
            parquet_foot.read(io.BytesIO(bytes(changed)), len(changed))
            seen["fine"] += 1
        except FootError as error:
            assert str(error)
            seen["told"] += 1
    assert min(seen.values()) > 10
