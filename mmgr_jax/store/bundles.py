"""One bundle of a checkpoint: its metadata, its arrays and the check of its files.

Reading can fail in four ways, each with its own treatment:

    damaged         bytes are not as they were written: DamageError; another is taken
    unreadable      a permission, a disk or memory is missing: stop, change nothing
    another format  of another program or version: stop
    another model   other settings, names or shapes: stop, with every difference
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint.experimental.v1 as ocp
from jax.sharding import Sharding

from mmgr_jax.disk import files, marks, refusals
from mmgr_jax.disk.marks import DamageError
from mmgr_jax.errors import InputError
from mmgr_jax.store import arrays
from mmgr_jax.typing import Tree

KIND = "checkpoint"
METADATA_FILE = "_CHECKPOINT_METADATA"
"""A file of every bundle; a process that reads the bundle locks it."""

_SEALED = "sealed"  # in metadata: this bundle had a mark; if none is there, it is lost

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Describes a checkpoint: how it was trained, and on what.

    Attributes:
        config: The whole configuration that trained it.
        categories: POI category names, in the order of the category table's rows.
        category_dim: Length of a category vector.
        parts: The parts of the model in the bundle; () for all of them.
        identity: Hashes of what trained it in addition to the config; see
            `identity.of_run`. Empty in checkpoints of earlier versions, as are
            `history` and `rows`.
        history: The steps where the run began and continued, and what changed there;
            see `identity.continued`.
        rows: `metrics.MetricsWriter.digest` when it was saved.
        cities: Facts about the records of each city; see `data.facts`. () in
            checkpoints of earlier versions.
    """

    config: Mapping[str, Any]
    categories: tuple[str, ...]
    category_dim: int
    parts: tuple[str, ...] = ()
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    rows: str = ""
    cities: tuple[Mapping[str, Any], ...] = ()

    @property
    def normalise(self) -> str:
        """The value of `augment.normalise` that the weights were trained with."""
        return self.config.get("augment", {}).get("normalise", "encoder")


def told(metadata: Metadata) -> Any:
    """Returns the metadata as JSON, with a note that the bundle was given a mark."""
    return arrays.jsonable({**dataclasses.asdict(metadata), _SEALED: True})


def verify(bundle: Path, parts: Sequence[str] | None = None) -> None:
    """Compares a bundle's bytes with its checksums; see `marks.verify`.

    Raises:
        DamageError: If a file is damaged; the message names it.
        InputError: If it is of another program or version, or cannot be read.
    """
    if not bundle.is_dir():
        raise DamageError("it is no folder")
    if not marks.verify(bundle, KIND, parts):
        if _custom_metadata(bundle).get(_SEALED):
            raise DamageError(f"{marks.MARK} is missing")
        if parts is None:
            log.info("%s: of an earlier version, without checksums", bundle)
            marks.refuse_unreadable(bundle)


def as_before_marks(bundle: Path) -> Collection[str]:
    """Names this program's files in a bundle of an earlier version, without a mark."""
    try:
        _custom_metadata(bundle)
    except (InputError, DamageError):
        return ()
    return [entry.name for entry in bundle.iterdir()]


def described(bundle: Path, items: Sequence[str]) -> Mapping[str, Any]:
    """Returns shapes and types of the arrays of those items that the bundle has."""
    with _read(bundle):
        shapes = ocp.checkpointables_metadata(str(bundle)).metadata
        for name in items:
            if shapes.get(name) is None and (bundle / name).is_dir():
                raise ValueError(f"{name} is incomplete")  # Orbax logs it, and goes on
        return shapes


def load(bundle: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Loads items of a verified bundle, with the types and layouts of templates."""
    with _read(bundle):
        return ocp.load_checkpointables(str(bundle), dict(wanted))


def load_metadata(bundle: Path) -> Metadata:
    """Loads the metadata of a bundle.

    Raises:
        InputError: If this program did not write it, it is damaged or unreadable.
    """
    with _no_other(bundle):
        verify(bundle, ())
        fields = _custom_metadata(bundle)
    return Metadata(
        config=fields["config"],
        categories=tuple(fields["categories"]),
        category_dim=fields["category_dim"],
        parts=tuple(fields.get("parts", ())),
        identity=fields.get("identity", {}),
        history=tuple(fields.get("history", ())),
        rows=fields.get("rows", ""),
        cities=tuple(fields.get("cities", ())),
    )


def load_model(bundle: Path, abstract: Tree) -> Tree:
    """Loads only `model`: {"params": ..., "batch_stats": ...}.

    Args:
        bundle: Folder of the bundle.
        abstract: Shapes, types and shardings of the tree.

    Raises:
        InputError: If the bundle holds another model, is damaged or unreadable.
    """
    with _no_other(bundle):
        verify(bundle, ("model",))
        arrays.refuse_other_arrays(
            bundle, described(bundle, ("model",)), {"model": abstract}
        )
        return load(bundle, {"model": abstract})["model"]


def load_arrays(bundle: Path) -> Tree:
    """Loads `model` as NumPy arrays, with any names and shapes.

    Raises:
        InputError: If the bundle is damaged or unreadable.
    """
    with _no_other(bundle):
        verify(bundle, ("model",))
        template = arrays.as_numpy(described(bundle, ("model",))["model"])
        return load(bundle, {"model": template})["model"]


def abstract_like(tree: Any, layout: Any) -> Any:
    """Returns shapes and types of `tree` with one sharding, or with one per leaf."""
    if isinstance(layout, Sharding):
        layout = jax.tree.map(lambda _: layout, tree)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=place
        ),
        tree,
        layout,
    )


def _custom_metadata(bundle: Path) -> Mapping[str, Any]:
    """Reads the metadata that was saved with a bundle of this program.

    Raises:
        DamageError: If it is missing or incomplete.
        InputError: If another program made the folder, or it cannot be read.
    """
    try:
        text = (bundle / METADATA_FILE).read_bytes()
        metadata = files.from_json(text)["custom_metadata"]
        ours = {"config", "categories", "category_dim"} <= metadata.keys()
    except (FileNotFoundError, NotADirectoryError) as error:
        if (bundle / "model").is_dir() or not any(bundle.iterdir()):
            raise DamageError(f"{METADATA_FILE} is missing") from error
        ours = False
    except (OSError, MemoryError) as error:
        raise refusals.unreadable(bundle, error) from error
    except (ValueError, KeyError) as error:
        raise DamageError(f"{METADATA_FILE} is incomplete") from error
    except (TypeError, AttributeError):
        ours = False
    if not ours:
        raise InputError(
            f"{bundle}: is no checkpoint of this program. Name another with "
            "--checkpoint=... or another --config.workdir, or move this one away."
        )
    return metadata


@contextlib.contextmanager
def _read(bundle: Path) -> Iterator[None]:
    """Explains why a bundle cannot be loaded although its checksums, if any, fit.

    Raises:
        DamageError: If it has no checksums, and is probably damaged.
        InputError: If memory or a permission is missing, or if Orbax cannot read what
            another version of Orbax wrote.
    """
    try:
        yield
    except Exception as error:  # Orbax raises many kinds
        cause = arrays.root_cause(error)
        refusals.refuse_unreadable(bundle, error)
        if not (bundle / marks.MARK).exists():
            raise DamageError(cause) from error
        raise InputError(
            f"{bundle}: is undamaged, but cannot be loaded ({cause}). Nothing was "
            "changed. Use the versions of this program and of Orbax that wrote it, "
            "or name another --checkpoint or --config.workdir."
        ) from error


@contextlib.contextmanager
def _no_other(bundle: Path) -> Iterator[None]:
    """Turns damage into InputError, where no other bundle can be taken instead."""
    try:
        yield
    except DamageError as damage:
        raise InputError(
            f"{bundle}: not a checkpoint of this program, or a damaged one ({damage}). "
            "Name another with --checkpoint=..., or train on: the run sets it aside "
            "and continues from the one before."
        ) from damage
