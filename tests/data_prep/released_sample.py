"""A sample of twelve regions in the layout of the released one, written by PyTorch.

Names hold dots, as coordinates do. Region 3 has no POI, region 4 has one; image 1 is
RGBA, 2 grey, 5 a palette.
"""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from oracles import import_oracle
from PIL import Image

from configs import common
from data_prep.import_released.settings import PopulationSettings, ReleasedSettings
from mmgr_jax.parts import section

SIZE_PX = 32
NAMES = [f"121.{40 + column}_31.{20 + row}" for column in range(4) for row in range(3)]
EMPTY, SINGLE, RGBA, GREY, PALETTE = 3, 4, 1, 2, 5
POPULATION = {name: 10.5 * index for index, name in enumerate(NAMES[:10])}
FOLDERS = dict(
    image_dir="sub_shanghai_img",
    vector_dir="sub_shanghai_emb",
    edge_dir="sub_shanghai_edge",
)


def category_vectors() -> np.ndarray:
    """Six vectors of 64 numbers; the last two differ in the sign of a zero alone."""
    vectors = np.random.default_rng(7).normal(size=(6, 64)).astype(np.float32)
    vectors[4:] = vectors[4]
    vectors[4, 0], vectors[5, 0] = 0.0, -0.0
    return vectors


def poi_sets() -> list[tuple[np.ndarray, np.ndarray]]:
    """Vectors [n 64] and edges [2 e] of each region, edges in both directions."""
    rng = np.random.default_rng(3)
    sets = []
    for index in range(len(NAMES)):
        n = {EMPTY: 0, SINGLE: 1}.get(index, int(rng.integers(2, 9)))
        category = rng.choice(6, n, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1])
        pairs = rng.integers(0, max(n, 1), (2, 3 * n))
        if n < 2:
            pairs = pairs[:, :0]
        both = np.concatenate([pairs, pairs[::-1]], axis=1)
        sets.append((category_vectors()[category], both.astype(np.int64)))
    return sets


def image(index: int, size_px: int = SIZE_PX) -> Image.Image:
    """The image of a region in its own mode."""
    rng = np.random.default_rng(index)
    if index == GREY:
        return Image.fromarray(rng.integers(0, 256, (size_px, size_px), np.uint8))
    channels = 4 if index == RGBA else 3
    pixels = rng.integers(0, 256, (size_px, size_px, channels), np.uint8)
    found = Image.fromarray(pixels)
    return found.quantize(16) if index == PALETTE else found


def write(folder: Path) -> ConfigDict:
    """Writes the sample and returns a config that names it."""
    torch = import_oracle("torch")
    raw = folder / "raw"
    for name in (*FOLDERS.values(), "pop1km"):
        (raw / name).mkdir(parents=True)
    for index, (name, (vectors, edges)) in enumerate(
        zip(NAMES, poi_sets(), strict=True)
    ):
        image(index).save(raw / "sub_shanghai_img" / f"{name}.png")
        torch.save(torch.tensor(vectors), raw / "sub_shanghai_emb" / f"{name}.tensor")
        torch.save(torch.tensor(edges), raw / "sub_shanghai_edge" / f"{name}.tensor")
    for name, people in POPULATION.items():
        (raw / "pop1km" / f"{name}.txt").write_text(f"{people}\n")
    (raw / "pop1km" / f"{NAMES[9]}.txt").write_text("nan")
    return describe(str(raw))


def describe(raw_dir: str) -> ConfigDict:
    """The config of the sample whose folders lie in a folder."""
    raw = Path(raw_dir)
    config = common.base("released", crs="EPSG:32651")
    population = PopulationSettings(
        "density", "persons/km2", year=2020, source="WorldPop", licence="CC BY 4.0"
    )
    config.released_sample = section(ReleasedSettings(raw_dir, population))
    config.records.dir = str(raw.parent / "records")
    config.records.num_shards = 3
    return config
