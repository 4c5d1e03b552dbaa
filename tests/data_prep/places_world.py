"""Places as Overture Maps publishes them, small: releases of several files in a bucket.

Rows are sorted along a Hilbert curve, as the real ones are, so that a row group lies in
one place; columns that nobody reads here are the larger part.
"""

from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

WEST, SOUTH, EAST, NORTH = 2.0, 48.0, 3.0, 49.0
RELEASES = ("2026-08-19.0", "2026-09-23.0", "2026-09-23.1")
KINDS = ("cafe", "park", "school", "bank")
DATASETS = (("meta", "CDLA-Permissive-2.0"), ("Foursquare", "Apache-2.0"))
GROUP_ROWS = 2_000
GEO = '{"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": '
GEO += '{"encoding": "WKB", "geometry_types": ["Point"]}}}'


def places(count=24_000, seed=0):
    """A table with the schema of places, schema v2."""
    rng = np.random.default_rng(seed)
    points = shapely.points(
        rng.uniform(WEST, EAST, count), rng.uniform(SOUTH, NORTH, count)
    )
    order = np.argsort(gpd.GeoSeries(points).hilbert_distance().to_numpy())
    points = points[order]
    x, y = shapely.get_x(points), shapely.get_y(points)
    kind = [KINDS[number] for number in rng.integers(0, len(KINDS), count)]
    kind[::50] = [None] * len(kind[::50])
    texts = [rng.bytes(40).hex() for _ in range(count)]
    box = {"xmin": x, "xmax": x, "ymin": y, "ymax": y}
    sources = []
    for row in range(count):
        dataset, licence = DATASETS[row % 5 == 0]
        own = dict(property="", dataset=dataset, license=licence, record_id=str(row))
        made = dict(property="/confidence", dataset="Overture", record_id="")
        sources.append([own, made | dict(license="CDLA-Permissive-2.0")])
    tree = [
        dict(primary=one, hierarchy=["top_" + one[0], one], alternates=[])
        if one
        else None
        for one in kind
    ]
    return pa.table(
        {
            "id": [f"p{row:06d}" for row in range(count)],
            "geometry": pa.array(shapely.to_wkb(points).tolist(), pa.binary()),
            "bbox": pa.StructArray.from_arrays(
                [pa.array(side.astype(np.float32)) for side in box.values()], list(box)
            ),
            "version": pa.array(np.ones(count, np.int32)),
            "sources": pa.array(sources),
            "names": [
                dict(primary=f"n{row}", common=[("fr", text)])
                for row, text in enumerate(texts)
            ],
            "basic_category": pa.array(kind),
            "taxonomy": pa.array(tree),
            "confidence": rng.uniform(0, 1, count),
            "websites": [[text] for text in texts],
            "phones": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(1000), count, [None, pa.py_buffer(rng.bytes(1000 * count))]
            ),
            "operating_status": ["open"] * count,
        },
    ).replace_schema_metadata({"geo": GEO})  # fmt: skip


def write(root, table, release=RELEASES[-1], *, files=3, **options):
    """Files of a release: rows in order, in row groups of `GROUP_ROWS`."""
    folder = root / f"release/{release}/theme=places/type=place"
    folder.mkdir(parents=True)
    each = -(-len(table) // files)
    for number in range(files):
        path = folder / f"part-{number:05d}-c000.zstd.parquet"
        part = table.slice(number * each, each)
        pq.write_table(
            part, path, row_group_size=GROUP_ROWS, compression="zstd", **options
        )
    return folder


def bucket(root, *, page=1000):
    """Answers of S3 to questions for a listing of what lies in a folder.

    Reference: docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
    """

    def answer(path, query):
        asked = dict(parse_qsl(query, keep_blank_values=True))
        if path != "/" or asked.get("list-type") != "2":
            return None
        prefix, after = asked.get("prefix", ""), asked.get("start-after", "")
        files = {
            one.relative_to(root).as_posix(): one.stat().st_size
            for one in root.rglob("*")
            if one.is_file()
        }
        names = {}
        for key in sorted(files):
            inside = key.removeprefix(prefix)
            if key.startswith(prefix) and key > after:
                if asked.get("delimiter") and "/" in inside:
                    names[prefix + inside.partition("/")[0] + "/"] = None
                else:
                    names[key] = files[key]
        shown = dict(list(names.items())[:page])
        text = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult '
        text += 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
        text += f"<Prefix>{escape(prefix)}</Prefix>"
        text += f"<IsTruncated>{str(len(shown) < len(names)).lower()}</IsTruncated>"
        for key, size in shown.items():
            text += (
                f"<CommonPrefixes><Prefix>{escape(key)}</Prefix></CommonPrefixes>"
                if size is None
                else f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size></Contents>"
            )
        return (text + "</ListBucketResult>").encode()

    return answer
