"""Records of a small city, written straight through the schema."""

import numpy as np
import shapely
from array_record.python import array_record_module

from mmgr_jax.data import pixels, record_format, schema, seals, tiles

TILE_SIZE_PX = 32
TILE_SIZE_M = 64.0
LABELS = {
    "function": schema.Label("share", "1", ("forest", "water", "residential")),
    "population": schema.Label("count", "persons", year=2020),
}
CATEGORIES = ("bank", "cafe", "park", "school", "shop")


def write_records(
    records_dir,
    *,
    rows=5,
    columns=8,
    num_shards=3,
    seed=0,
    image_format="png",
    labels=LABELS,
    city="small",
    categories=CATEGORIES,
    tile_size_m=TILE_SIZE_M,
    measured=False,
    light=lambda tile: tile,
):
    """Writes a finished records folder of `rows * columns` regions; returns it.

    Places and numbers of categories are those of the small city whatever is given.
    Without `measured` the manifest says no `pixels`, as those of before; `light` makes
    of each tile the one that is stored.
    """
    rng = np.random.default_rng(seed)
    records = [
        _record(rng, row, column, image_format, light)
        for row in range(rows)
        for column in range(columns)
    ]
    layout = record_format.RecordLayout(TILE_SIZE_PX, labels, image_format)
    examples = [record_format.serialize(record, layout) for record in records]
    inputs = [seals.input_number(of, place) for place, of in enumerate(examples)]
    parts = np.array_split(np.arange(len(records)), num_shards)
    for index, part in enumerate(parts):
        path = records_dir / schema.shard_name(city, index, num_shards)
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        for record in part:
            writer.write(examples[record])
        writer.close()
    vectors = rng.normal(size=(len(CATEGORIES), 16)).astype(np.float32)
    np.save(records_dir / schema.CATEGORY_VECTORS_FILE, vectors)
    counts = [len(record["poi/category"]) for record in records]
    schema.Manifest(
        city=city,
        crs="EPSG:32651",
        tile_size_px=TILE_SIZE_PX,
        tile_size_m=tile_size_m,
        num_regions=len(records),
        shard_lengths=tuple(len(part) for part in parts),
        shard_sha256=("",) * num_shards,
        max_pois=max(counts),
        empty_share=float(np.mean(np.equal(counts, 0))),
        categories=categories,
        category_parents=categories,
        labels=labels,
        block_size_m=2 * TILE_SIZE_M,
        image_format=image_format,
        pixels=_pixels(records, image_format) if measured else None,
        inputs_sha256=seals.sum_of_inputs(inputs),
    ).save(records_dir)
    return records_dir


def _pixels(records, image_format):
    stored = [record["image"] for record in records]
    return pixels.PixelStatistics.of(
        np.stack([tiles.decode(one, image_format, TILE_SIZE_PX) for one in stored])
    )


def _record(rng, row, column, image_format, light):
    count = int(rng.integers(0, 12)) if (row + column) % 4 else 0
    west, north = 3e5 + column * TILE_SIZE_M, 3.4e6 - row * TILE_SIZE_M
    brightness = int(rng.integers(40, 200))
    noise = rng.integers(0, 50, (TILE_SIZE_PX, TILE_SIZE_PX, 3))
    tile = (brightness + noise).astype(np.uint8)
    shares = rng.dirichlet(np.ones(3)).astype(np.float32)
    box = shapely.box(west, north - TILE_SIZE_M, west + TILE_SIZE_M, north)
    offsets = rng.uniform(-32, 32, (count, 2)).astype(np.float32)
    edges = np.array([[i, i + 1] for i in range(count - 1)], np.int32).reshape(-1, 2)
    return {
        "region_id": f"r{row:04d}c{column:04d}",
        "image": tiles.encode(light(tile), image_format),
        "poi/category": rng.integers(0, len(CATEGORIES), count).astype(np.int32),
        "poi/offset_m": offsets,
        "poi/edges": edges,
        "poi/edge_weight": np.ones(len(edges), np.float32),
        "geometry": box.wkb,
        "block_id": np.int32(row // 2 * 4 + column // 2),
        "label/function": shares,
        "label/population": np.float32(rng.lognormal(3)),
    }


def config_of(records_dir, folder):
    """The toy city's config on these records, with a run in `folder`: seconds a run."""
    from configs import toy_city

    config = toy_city.get_config("smoke")
    config.workdir = str(folder / "run")
    config.records.dir = str(records_dir)
    config.data.batch_size = 16
    config.data.num_threads = 2
    config.augment.size_px = 32
    config.mesh.data = 1
    config.train.total = "4 steps"
    config.train.save_every = "2 steps"
    config.eval.num_folds = 4
    config.readout.surroundings_m = ()  # those of the toy city are larger
    return config
