"""The fields of the record of a region, and how they are stored as bytes.

The names, types and units of fields are defined only here. A record is a
`tf.train.Example` inside an ArrayRecord shard.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmgr_jax.data import tiles
from mmgr_jax.data.example import Example

if TYPE_CHECKING:  # TFDS takes a third of a second, and describing a folder needs it
    import tensorflow_datasets as tfds

    from mmgr_jax.data.schema import Label

Record = dict[str, Any]
"""One region, a value for each field of `RecordLayout`."""

BYTES_FIELDS = ("region_id", "image", "geometry")


@dataclasses.dataclass(frozen=True)
class RecordLayout:
    """The fields of a record.

        region_id   text, stable name of the region
        image       uint8 [h w 3], the tile, encoded
        poi/category     int32 [n], index into `Manifest.categories`
        poi/offset_m     float32 [n 2], metres east and north of the region's centre
        poi/edges        int32 [e 2], Delaunay edges within the region, i < j
        poi/edge_weight  float32 [e]
        geometry    WKB polygon in the study area's CRS
        block_id    int32, spatial block the region's centre lies in
        label/<name>     float32 [] or [k], NaN where unknown

    Attributes:
        tile_size_px: Side of `image` in pixels.
        labels: Meaning of each `label/<name>`.
        image_format: One of `tiles.FORMATS`.
    """

    tile_size_px: int
    labels: Mapping[str, Label]
    image_format: str

    @functools.cached_property
    def arrays(self) -> dict[str, tuple[Any, tuple[int, ...]]]:
        """Type and shape of each field of numbers; -1 for as many as there are."""
        return {
            "poi/category": (np.int32, (-1,)),
            "poi/offset_m": (np.float32, (-1, 2)),
            "poi/edges": (np.int32, (-1, 2)),
            "poi/edge_weight": (np.float32, (-1,)),
            "block_id": (np.int32, ()),
        } | {
            f"label/{name}": (np.float32, label.shape)
            for name, label in self.labels.items()
        }

    def features(self) -> tfds.features.FeaturesDict:
        """The same as TFDS features, to which WebP and raw tiles are mere bytes."""
        import tensorflow_datasets as tfds

        nested: dict[str, Any] = {"label": {}}
        for name, (dtype, shape) in self.arrays.items():
            open_shape = tuple(None if size == -1 else size for size in shape)
            group, _, leaf = name.partition("/")
            place = nested.setdefault(group, {}) if leaf else nested
            place[leaf or group] = tfds.features.Tensor(shape=open_shape, dtype=dtype)
        text = tfds.features.Text()
        return tfds.features.FeaturesDict(
            {"region_id": text, "image": self._image(), "geometry": text} | nested
        )

    def _image(self) -> tfds.features.FeatureConnector:
        import tensorflow_datasets as tfds

        if self.image_format not in ("png", "jpeg"):
            return tfds.features.Text()
        return tfds.features.Image(
            shape=(self.tile_size_px, self.tile_size_px, 3),
            dtype=np.uint8,
            encoding_format=self.image_format,
        )


def serialize(record: Record, layout: RecordLayout) -> bytes:
    """Encodes one record.

    Args:
        record: A value for each field of the layout; `image` as bytes (see
            `tiles.encode`).
        layout: Its fields.

    Returns:
        A serialised `tf.train.Example`, the same bytes for the same record.
    """
    example = Example()
    feature = example.features.feature
    for name in BYTES_FIELDS:
        value = record[name]
        stored = value.encode() if isinstance(value, str) else value
        feature[name].bytes_list.value.append(stored)
    for name, (dtype, shape) in layout.arrays.items():
        values = np.asarray(record[name], dtype)
        assert values.ndim == len(shape), (name, values.shape)
        kind = (
            feature[name].int64_list if dtype == np.int32 else feature[name].float_list
        )
        kind.value.extend(values.reshape(-1).tolist())
        kind.SetInParent()  # an empty list is one too
    # The order of a protocol buffer's map changes from run to run unless asked not to.
    return example.SerializeToString(deterministic=True)


def deserialize(
    example: bytes, layout: RecordLayout, *, image: np.ndarray | bool = True
) -> Record:
    """Decodes one record.

    Args:
        example: What `serialize` gave.
        layout: Its fields.
        image: Where to decode the tile, uint8 [h w 3]; True makes an array; False
            leaves the tile out.
    """
    feature = Example.FromString(example).features.feature
    record: Record = {
        name: feature[name].bytes_list.value[0]
        for name in BYTES_FIELDS
        if name != "image" or image is not False
    }
    record["region_id"] = record["region_id"].decode()
    if image is not False:
        record["image"] = tiles.decode(
            record["image"],
            layout.image_format,
            layout.tile_size_px,
            None if image is True else image,
        )
    for name, (dtype, shape) in layout.arrays.items():
        stored = feature[name]
        kind = stored.int64_list if dtype == np.int32 else stored.float_list
        record[name] = np.array(kind.value, dtype).reshape(shape)
    return record
