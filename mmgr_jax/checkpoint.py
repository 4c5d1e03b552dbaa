"""Checkpoints: one bundle a save, written and read by Orbax.

    checkpoints/<step>/model   params, batch_stats       all that eval and embed load
                       train   opt_state, step
                       data    how far the records were read
                       clock   seconds trained
    with the config and the POI categories as metadata

A bundle appears under its final name only when all of it is written, so a killed run
leaves nothing half-written: the next start continues from the newest whole bundle.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint.experimental.v1 as ocp
from jax.experimental import multihost_utils
from jax.sharding import Sharding

from mmgr_jax import stored
from mmgr_jax.data.pipeline import TrainingBatches
from mmgr_jax.errors import InputError
from mmgr_jax.train_step import TrainState
from mmgr_jax.typing import Tree

FOLDER = "checkpoints"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a checkpoint says of itself.

    Attributes:
        config: The whole configuration that trained it.
        categories: POI category names, row by row of the category table.
        category_dim: Length of a category vector.
        parts: The parts of the model in the bundle; () for all of them.
    """

    config: Mapping[str, Any]
    categories: tuple[str, ...]
    category_dim: int
    parts: tuple[str, ...] = ()


class Checkpoints:
    """The bundles of one run, newest last."""

    def __init__(self, workdir: str | Path, *, keep: int) -> None:
        """Opens `workdir/checkpoints`, creating it where it is absent.

        Args:
            workdir: Folder of the run.
            keep: How many of the newest bundles stay.
        """
        self._directory = Path(workdir).absolute() / FOLDER
        self._keep = keep
        self._open()

    def _open(self) -> None:
        policies = ocp.training.save_decision_policies
        self._checkpointer = ocp.training.Checkpointer(
            self._directory,
            save_decision_policy=policies.FixedIntervalPolicy(1),
            preservation_policy=ocp.training.preservation_policies.LatestN(self._keep),
            cleanup_tmp_directories=True,
            context=stored.written_by_one(),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Closing waits for a bundle on its way, and with it for all processes: in vain
        # where an error tells that one may be gone.
        agreed = error is None or isinstance(error, (InputError, SystemExit))
        if agreed or jax.process_count() == 1:
            self._checkpointer.close()

    @property
    def latest_step(self) -> int | None:
        """Step of the newest whole bundle, None when there is none."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(
        self,
        state: TrainState,
        iterator: TrainingBatches,
        clock: Mapping[str, float],
        metadata: Metadata,
    ) -> None:
        """Starts writing a bundle named by the state's step; returns after the copy.

        The iterator must stand just after the batch of the state's last step.
        """
        step = int(state.step)
        if step == self.latest_step:
            return
        self._checkpointer.save_checkpointables_async(
            step,
            {
                "model": _model_tree(state),
                "train": {"opt_state": state.opt_state, "step": state.step},
                "data": iterator.get_state(),
                "clock": dict(clock),
            },
            custom_metadata=stored.jsonable(dataclasses.asdict(metadata)),
        )

    def restore(
        self,
        abstract: TrainState,
        iterator: TrainingBatches,
        clock: Mapping[str, float],
        check: Callable[[Metadata, Path], None],
    ) -> tuple[TrainState, dict[str, float]]:
        """The newest bundle that can be read; `iterator` is moved to where it was.

        A damaged bundle is named in the log, renamed to `damaged-<step>`, and the one
        before it is taken.

        Args:
            abstract: Shapes, types and shardings of the state to restore.
            iterator: An iterator over the same records.
            clock: A clock of the same fields.
            check: Refuses the bundle of another model by an InputError.

        Raises:
            InputError: If the bundle holds another model or optimiser, or no bundle
                can be read.
        """
        wanted = {
            "model": _model_tree(abstract),
            "train": {"opt_state": abstract.opt_state, "step": abstract.step},
            "data": iterator.get_state(),
            "clock": dict(clock),
        }
        steps = [entry.step for entry in self._checkpointer.checkpoints]
        for step in sorted(steps, reverse=True):
            bundle = self._directory / str(step)
            try:
                metadata = load_metadata(bundle)
                arrays = ocp.checkpointables_metadata(bundle).metadata
            except Exception as error:  # Orbax raises many kinds for a torn folder
                self._set_aside(bundle, error)
                continue
            check(metadata, bundle)
            stored.refuse_other_arrays(bundle, arrays, wanted)
            try:
                loaded = self._checkpointer.load_checkpointables(step, wanted)
            except Exception as error:  # its arrays fit, so its bytes are damaged
                self._set_aside(bundle, error)
                continue
            iterator.set_state(loaded["data"])
            return TrainState(**loaded["model"], **loaded["train"]), loaded["clock"]
        raise InputError(
            f"{self._directory}: no checkpoint can be read. Those set aside are named "
            "damaged-<step>; start anew with another --config.workdir."
        )

    def _set_aside(self, bundle: Path, error: Exception) -> None:
        log.warning(
            "%s: this checkpoint is damaged (%s); taking the one before it",
            bundle,
            stored.root_cause(error),
        )
        self._checkpointer.close()
        if jax.process_index() == 0:
            aside = bundle.with_name(f"damaged-{bundle.name}")
            shutil.rmtree(aside, ignore_errors=True)
            bundle.rename(aside)
        multihost_utils.sync_global_devices("damaged checkpoint set aside")
        self._open()


@contextlib.contextmanager
def by_one_process() -> Iterator[None]:
    """Within it process 0 loads alone; the others are not waited for."""
    if jax.process_count() == 1:
        yield
        return
    alone = ocp.Context()
    alone.multiprocessing.active_processes = {0}
    alone.multiprocessing.barrier_sync_key_prefix = "alone"
    with alone:
        yield


def latest(path: str | Path) -> Path:
    """The bundle a user means by `path`: a bundle, a run or its checkpoints folder.

    Raises:
        InputError: If there is none.
    """
    path = Path(path).absolute()
    if (path / "model").is_dir():
        return path
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    steps = [
        int(entry.name)
        for entry in (folder.iterdir() if folder.is_dir() else ())
        if entry.name.isdigit() and (entry / "model").is_dir()
    ]
    if not steps:
        raise InputError(
            f"{path}: no checkpoint here. Train one with "
            "`python -m mmgr_jax.main --config=...`, or name another with "
            "--checkpoint=RUN_OR_CHECKPOINT_FOLDER."
        )
    return folder / str(max(steps))


def load_metadata(bundle: Path) -> Metadata:
    """What the bundle says of itself.

    Raises:
        InputError: If this program did not write it.
    """
    try:
        fields = ocp.checkpointables_metadata(bundle).custom_metadata
        return Metadata(
            config=fields["config"],
            categories=tuple(fields["categories"]),
            category_dim=fields["category_dim"],
            parts=tuple(fields["parts"]),
        )
    except Exception as error:  # Orbax raises many kinds for a torn folder
        raise InputError(
            f"{bundle}: not a checkpoint of this program, or a damaged one "
            f"({stored.root_cause(error)}). Name another with --checkpoint=..., or "
            "remove it: the run then continues from the one before."
        ) from error


def load_model(bundle: Path, abstract: Tree) -> Tree:
    """Loads `model` alone: {"params": ..., "batch_stats": ...}.

    Args:
        bundle: Folder of the bundle.
        abstract: Shapes, types and shardings of the tree.

    Raises:
        InputError: If the bundle holds another model.
    """
    try:
        return ocp.load_checkpointables(bundle, {"model": abstract})["model"]
    except Exception as error:
        raise InputError(
            f"{bundle}: does not fit the model, optimiser or records of this config "
            f"({stored.root_cause(error)}). Use the config it was trained with, "
            "another --checkpoint, or another --config.workdir."
        ) from error


def load_arrays(bundle: Path) -> Tree:
    """Loads `model` as NumPy arrays, whatever it holds.

    Raises:
        InputError: If the bundle is damaged.
    """
    try:
        described = ocp.checkpointables_metadata(bundle).metadata["model"]
        template = stored.as_numpy(described)
        return ocp.load_checkpointables(bundle, {"model": template})["model"]
    except Exception as error:
        raise InputError(
            f"{bundle}: cannot be read ({stored.root_cause(error)}). Name another "
            "checkpoint."
        ) from error


def save_model(workdir: str | Path, variables: Tree, metadata: Metadata) -> Path:
    """Writes a bundle of step 0 that holds `model` alone.

    Args:
        workdir: Folder to make; `latest` finds the bundle in it.
        variables: {"params": ..., "batch_stats": ...}, or parts of them.
        metadata: What the bundle says of itself.

    Returns:
        Folder of the bundle.

    Raises:
        InputError: If the folder holds checkpoints already.
    """
    folder = Path(workdir).absolute() / FOLDER
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: holds checkpoints already. Name another folder, or remove it."
        )
    bundle = folder / "0"
    ocp.save_checkpointables(
        bundle,
        {"model": dict(variables)},
        custom_metadata=stored.jsonable(dataclasses.asdict(metadata)),
    )
    return bundle


def abstract_like(tree: Any, layout: Any) -> Any:
    """Shapes and types of `tree`, laid out by a sharding, or by one for each leaf."""
    if isinstance(layout, Sharding):
        layout = jax.tree.map(lambda _: layout, tree)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=place
        ),
        tree,
        layout,
    )


def _model_tree(state: TrainState) -> Tree:
    return {"params": state.params, "batch_stats": state.batch_stats}
