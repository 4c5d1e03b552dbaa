"""What the released sample says in text files: labels and lists of regions."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from data_prep.import_released.faults import Faults
from data_prep.import_released.settings import LabelFolderSettings
from mmgr_jax.data import schema

_SUFFIX = ".txt"
_SUFFIXES = (".png", ".tensor", _SUFFIX)


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels of a sample.

    Attributes:
        values: Values of each label [r], NaN where unknown.
        meanings: Meaning of each label.
        report: Counts worth telling of each label.
    """

    values: Mapping[str, Float32[np.ndarray, " r"]]
    meanings: Mapping[str, schema.Label]
    report: Mapping[str, dict[str, int]]


@dataclasses.dataclass(frozen=True)
class Lists:
    """The lists of regions that come with a sample.

    Attributes:
        regions: Regions of each list, in its order, each once.
        strangers: How many names of each list belong to no region.
    """

    regions: Mapping[str, list[str]]
    strangers: Mapping[str, int]

    @property
    def shared(self) -> list[str]:
        """Regions that more than one list names."""
        count = Counter(name for regions in self.regions.values() for name in regions)
        return sorted(region for region in count if count[region] > 1)


def read_labels(
    folders: Mapping[str, LabelFolderSettings],
    regions: Sequence[str],
    faults: Faults,
) -> Labels:
    """One number a region for each label.

    A region has no value where it has no file, or the file says "nan".

    Args:
        folders: Name of a label -> where it comes from.
        regions: Names of the regions.
        faults: Takes note of all that is wrong.
    """
    read = {
        name: _read_label(name, label, regions, faults)
        for name, label in folders.items()
    }
    return Labels(
        values={name: values for name, (values, _) in read.items()},
        meanings={name: _meaning(label) for name, label in folders.items()},
        report={name: report for name, (_, report) in read.items()},
    )


def read_lists(
    paths: Mapping[str, str], regions: Sequence[str], faults: Faults
) -> Lists:
    """Which regions the lists of a sample name, such as those to train on.

    A line holds one name, with or without the extension of a file of the sample.

    Args:
        paths: Name of a list -> its text file.
        regions: Names of the regions.
        faults: Takes note of all that is wrong.
    """
    known, members, strangers = set(regions), {}, {}
    for name, path in paths.items():
        key = f"config.released.lists.{name} {str(path)!r}"
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
        except (OSError, ValueError) as error:
            faults.add(f"{key}: cannot be read ({error}). Wanted: one name a line")
            continue
        names = dict.fromkeys(_region(line) for line in lines if line.strip())
        members[name] = [region for region in names if region in known]
        strangers[name] = len(names) - len(members[name])
        if not members[name]:
            faults.add(
                f"{key}: names none of the {len(regions)} regions; its first name is "
                f"{next(iter(names), '')!r}, a region is called {regions[0]!r}"
            )
    return Lists(members, strangers)


def _meaning(label: LabelFolderSettings) -> schema.Label:
    """The entry of the manifest."""
    fields = dataclasses.asdict(label)
    del fields["dir"]
    return schema.Label(**fields)


def _read_label(
    name: str, label: LabelFolderSettings, regions: Sequence[str], faults: Faults
) -> tuple[Float32[np.ndarray, " r"], dict[str, int]]:
    """Values of one label, and counts worth telling."""
    key, folder = f"config.released.labels.{name}", Path(label.dir)
    present = {path.name.removesuffix(_SUFFIX) for path in folder.glob(f"*{_SUFFIX}")}
    values = np.full(len(regions), np.nan, np.float32)
    for index, region in enumerate(regions):
        if region in present:
            path = folder / f"{region}{_SUFFIX}"
            values[index] = _number(path, key, label.kind, faults)
    if present.isdisjoint(regions):
        faults.add(
            f"{key}.dir {label.dir!r}: no file for any of the {len(regions)} regions. "
            f"Wanted: files such as {regions[0]}{_SUFFIX} with one number"
        )
    report = {
        "regions without a value": int(np.isnan(values).sum()),
        "files of no region": len(present - set(regions)),
    }
    return values, report


def _number(path: Path, key: str, kind: str, faults: Faults) -> float:
    """The number in a file; NaN where there is none, noted unless it says so."""
    text = path.read_text(encoding="utf-8-sig", errors="replace").strip()
    shown = f"{path.name}: {text[:40]}"
    try:
        number = float(text)
    except ValueError:
        faults.add(f"{key}.dir: not one number", shown)
        return math.nan
    if math.isinf(number) or (number < 0 and kind != "scalar"):
        faults.add(
            f"{key}.dir: no {kind}; remove files that stand for missing data, a region "
            "without one has no value",
            shown,
        )
        return math.nan
    return number


def _region(line: str) -> str:
    """The name of the region in a line; other dots in it are no extension."""
    name = line.strip()
    suffix = next((end for end in _SUFFIXES if name.endswith(end)), "")
    return name.removesuffix(suffix)
