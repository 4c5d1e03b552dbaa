"""The manifest of a records folder: what the records mean and how they were made.

`record_format` defines the fields of a record. Shards and metadata are laid out so that
`tfds.builder_from_directory(records_dir).as_data_source()` opens the folder without
TensorFlow.

The records folder:
    manifest.json                what the records mean (written last: a folder with a
                                 manifest is complete)
    category_vectors.npy         float32 [k d], one row per POI category
    category_text.npz            if vectors come from texts; see `mmgr_jax.data.texts`
    splits.csv                   the fold of each region; see `mmgr_jax.data.folds`
    verified.json                which files were checked; see `mmgr_jax.data.contents`
    dataset_info.json, features.json                   read by TFDS
    <city>-regions.array_record-00000-of-00004 ...     the shards
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgr_jax.data import contents, seals
from mmgr_jax.data.pixels import PixelStatistics
from mmgr_jax.data.record_format import RecordLayout
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

VERSION = "1.0.0"
SPLIT = "regions"  # TFDS keeps "all" for the union of a folder's splits
MANIFEST_FILE = "manifest.json"
CATEGORY_VECTORS_FILE = "category_vectors.npy"
CATEGORY_TEXT_FILE = "category_text.npz"
SPLITS_FILE = "splits.csv"
BESIDE = (
    CATEGORY_VECTORS_FILE,
    CATEGORY_TEXT_FILE,
    SPLITS_FILE,
    "dataset_info.json",
    "features.json",
)
"""Files next to the shards; the manifest has the hash of each."""


@dataclasses.dataclass(frozen=True)
class Label:
    """What one `label/<name>` field means.

    Attributes:
        kind: `count` (sums over the region), `density` (means over the region, per
            area), `share` (area shares that sum to one, NaN where too little is
            covered), `class` (the index of the one class of the region, a whole
            number or NaN) or `scalar` (means over the region).
        unit: Unit of the stored number, such as "persons", "persons/km2" or "1".
        classes: Names of the k classes of a share or class; empty otherwise.
        year: Reference year of the source.
        source: Maker of the data, and the licence.
        licence: Licence of the source.
        rule: In words, when a value counts as known.
    """

    kind: str
    unit: str
    classes: tuple[str, ...] = ()
    year: int | None = None
    source: str = ""
    licence: str = ""
    rule: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """`()` for a number, `(k,)` for shares of k classes."""
        return (len(self.classes),) if self.kind == "share" else ()


@dataclasses.dataclass(frozen=True)
class SplitColumn:
    """What one column of `splits.csv` means.

    Attributes:
        num_folds: Number of folds; they are numbered from 0 to `num_folds` - 1.
        buffer_m: Regions within this many metres of a tested region are left out of
            training; 0 leaves out none.
        rule: In words, how regions were assigned to folds.
    """

    num_folds: int
    buffer_m: float = 0.0
    rule: str = ""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a folder of records holds and how it was made.

    Attributes:
        city: Name of the study area.
        crs: CRS of `geometry` and of every metre in the records; "" if the
            location of the regions is unknown (the released sample), and then the
            geometries are empty.
        tile_size_px: Side of `image` in pixels.
        tile_size_m: Side of `image` on the ground in metres; 0 if unknown.
        num_regions: Number of records over all shards.
        shard_lengths: Number of records of each shard, in shard order.
        shard_sha256: Hash of each shard file, in shard order.
        max_pois: Largest number of POIs in one region.
        empty_share: Share of the regions without any POI.
        categories: Category names; `poi/category` indexes this list.
        category_parents: First-level category of each category.
        labels: Meaning of each `label/<name>`.
        block_size_m: Side of the spatial blocks behind `block_id`, in metres.
        image_format: Encoding of the stored tile, one of `tiles.FORMATS`.
        splits: Meaning of each column of `splits.csv`; empty without the file.
        report: Counts for the user: regions dropped, POIs outside, and so on.
        sources: Path, size in bytes and hash of each source file.
        config: The configuration that built the records.
        pixels: Mean and deviation of red, green and blue over all tiles; None in
            older records. They follow from the tiles, so `identity` does not contain
            them.
        inputs_sha256: Hash of what pre-training reads, independent of the division
            into shards; see `seals.input_number`. "" in older records.
        content: Hashes of the fields above and of the files in `BESIDE`, filled in by
            `save`; empty in older records.
        version: Version of this layout.
    """

    city: str
    crs: str
    tile_size_px: int
    tile_size_m: float
    num_regions: int
    shard_lengths: tuple[int, ...]
    shard_sha256: tuple[str, ...]
    max_pois: int
    empty_share: float
    categories: tuple[str, ...]
    category_parents: tuple[str, ...]
    labels: Mapping[str, Label]
    block_size_m: float
    image_format: str = "png"
    splits: Mapping[str, SplitColumn] = dataclasses.field(default_factory=dict)
    report: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sources: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pixels: PixelStatistics | None = None
    inputs_sha256: str = ""
    content: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    version: str = VERSION

    @property
    def layout(self) -> RecordLayout:
        """The fields of a record."""
        return RecordLayout(self.tile_size_px, self.labels, self.image_format)

    def shard_paths(self, records_dir: str | Path) -> list[Path]:
        """Paths of the shards, in order."""
        count = len(self.shard_lengths)
        return [
            Path(records_dir) / shard_name(self.city, index, count)
            for index in range(count)
        ]

    def save(self, records_dir: str | Path, changed: Sequence[str] = ()) -> None:
        """Writes `manifest.json` by one rename. The folder is complete from then on.

        Args:
            records_dir: The folder. Files without a stored hash are hashed now.
            changed: Files of `BESIDE` that were rewritten since the last `save`.
        """
        folder = Path(records_dir)
        known = dict(self.content.get("files", {}))
        for name in BESIDE:
            if name in changed:
                known.pop(name, None)
            if name not in known and (folder / name).exists():
                known[name] = contents.of_file(folder / name)
        fields = json.loads(json.dumps(dataclasses.asdict(self)))
        fields["shard_sha256"] = [
            stored or (contents.of_file(path) if path.exists() else "")
            for stored, path in zip(
                self.shard_sha256, self.shard_paths(folder), strict=True
            )
        ]
        del fields["content"]
        fields["content"] = seals.seal(fields, known)
        files.write_text(folder / MANIFEST_FILE, json.dumps(fields, indent=2) + "\n")

    @classmethod
    def load(cls, records_dir: str | Path) -> Manifest:
        """Reads `manifest.json`.

        Raises:
            InputError: If the folder has no manifest, or if the manifest has another
                version, was edited, is damaged or contradicts itself.
        """
        path = Path(records_dir) / MANIFEST_FILE
        if not path.exists():
            raise InputError(
                f"{path}: no such file, so {records_dir} holds no finished records. "
                "Build them with `python -m data_prep.build --config=...`."
            )
        try:
            fields = files.from_json(path.read_text(encoding="utf-8"))
            if fields.get("version") != VERSION:
                raise InputError(
                    f"{path}: version {fields.get('version')!r}, this program reads "
                    f"{VERSION!r}. Remove the folder and build the records again."
                )
            seals.refuse_edited(path, fields)
            fields["labels"] = {
                name: Label(**{**label, "classes": tuple(label["classes"])})
                for name, label in fields["labels"].items()
            }
            fields["splits"] = {
                kind: SplitColumn(**split)
                for kind, split in fields.get("splits", {}).items()
            }
            if measured := fields.get("pixels"):
                fields["pixels"] = PixelStatistics(
                    **{name: tuple(value) for name, value in measured.items()}
                )
            for name, value in fields.items():
                if isinstance(value, list):
                    fields[name] = tuple(value)
            manifest = cls(**fields)
            _refuse_contradictions(path, manifest)
            return manifest
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{path}: not a manifest this program wrote ({error}). "
                "Remove the folder and build the records again."
            ) from error

    def measured_pixels(self, records_dir: str | Path) -> PixelStatistics:
        """Returns `pixels`, checked to be usable for normalising tiles.

        Raises:
            InputError: If the records have no `pixels`, or a band is the same in every
                pixel.
        """
        if self.pixels is None:
            raise InputError(
                f"{records_dir}: these records do not say the mean and deviation of "
                "their pixels, by which augment.normalise='city' normalises; build "
                "them again with `python -m data_prep.build --config=...`."
            )
        if not all(self.pixels.deviation):
            raise InputError(
                f"{records_dir}: a band of colour is the same in every pixel, so "
                "augment.normalise='city' cannot divide by its deviation. Name other "
                "config.imagery.bands, or use augment.normalise='encoder'."
            )
        return self.pixels

    def faults(self, records_dir: str | Path, *, whole: bool = False) -> list[str]:
        """Finds files of a folder that changed after they were written.

        Args:
            records_dir: The folder.
            whole: Read every byte. Otherwise, a file whose size and times are the same
                as when it was last read counts as unchanged.
        """
        folder = Path(records_dir)
        wanted = dict(self.content.get("files", {}))
        strange = [
            f"{folder / name}: was not written by the build"
            for name in BESIDE
            if self.content and name not in wanted and (folder / name).exists()
        ]
        paths = self.shard_paths(folder)
        names = [path.name for path in paths]
        wanted |= dict(zip(names, self.shard_sha256, strict=True))
        return strange + seals.faults(folder, wanted, whole=whole)

    def identity(self, records_dir: str | Path) -> dict[str, str]:
        """Hashes of the parts of the records. Paths and folder names do not enter them.

        `inputs` covers what pre-training reads ("" in older records). `regions` covers
        all bytes of the shards. `categories` covers the categories and their order.
        """
        beside = dict(self.content.get("files", {}))
        for name in (CATEGORY_VECTORS_FILE, SPLITS_FILE):
            path = Path(records_dir) / name
            if name not in beside and path.exists():
                beside[name] = contents.of_file(path)
        labels = {
            name: dataclasses.asdict(label) for name, label in self.labels.items()
        }
        splits = {
            kind: dataclasses.asdict(split) for kind, split in self.splits.items()
        }
        layout = (self.crs, self.tile_size_px, self.tile_size_m, self.image_format)
        return {
            "inputs": self.inputs_sha256,
            "regions": contents.of_value(self.shard_sha256),
            "categories": contents.of_value(self.categories),
            "vectors": beside.get(CATEGORY_VECTORS_FILE, ""),
            "labels": contents.of_value(labels),
            "splits": contents.of_value([splits, beside.get(SPLITS_FILE, "")]),
            "layout": contents.of_value(layout),
        }


def shard_name(city: str, index: int, count: int) -> str:
    """File name of a shard, as TFDS expects it."""
    return f"{city}-{SPLIT}.array_record-{index:05d}-of-{count:05d}"


def _refuse_contradictions(path: Path, manifest: Manifest) -> None:
    """Raises InputError if fields contradict each other, which hashes do not show."""
    if files.safe_name(manifest.city) != manifest.city:
        raise InputError(
            f"{path}: the city is called {manifest.city!r}, which cannot name the "
            "shards of this folder. Do not use these records; build them again."
        )
    numbers = {
        "num_regions": (manifest.num_regions, sum(manifest.shard_lengths)),
        "shard_sha256": (len(manifest.shard_sha256), len(manifest.shard_lengths)),
        "category_parents": (len(manifest.category_parents), len(manifest.categories)),
    }
    for name, (declared, counted) in numbers.items():
        if declared != counted:
            raise InputError(
                f"{path}: {name} says {declared} where the other fields say {counted}. "
                "Put the file back as it was, or remove the folder and build the "
                "records again with `python -m data_prep.build --config=...`."
            )
