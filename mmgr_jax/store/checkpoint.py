"""Writes and reads checkpoints with Orbax: one folder, a bundle, for each save.

    checkpoints/<step>/model   params, batch_stats       all that eval and embed load
                       train   opt_state, step
                       data    how far the records were read
                       clock   seconds trained
    with the config and the POI categories as metadata,
    and the checksums of all these files (written_by_mmgr.json)

A bundle gets its final name only when all of it is written, so a killed run leaves no
half-written bundle. The next start continues from the newest undamaged bundle.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
from jax.experimental import multihost_utils

from mmgr_jax.data.pipeline import TrainingBatches
from mmgr_jax.disk import folders, locks, marks, refusals
from mmgr_jax.errors import InputError
from mmgr_jax.store import arrays, bundles
from mmgr_jax.store.bundles import (
    Metadata,
    abstract_like,
    load_arrays,
    load_metadata,
    load_model,
)
from mmgr_jax.store.state import TrainState
from mmgr_jax.typing import Tree

__all__ = [
    "Checkpoints",
    "Metadata",
    "abstract_like",
    "by_one_process",
    "held",
    "latest",
    "load_arrays",
    "load_metadata",
    "load_model",
    "save_model",
]

FOLDER = "checkpoints"
UNFINISHED = ".unfinished"
DAMAGED = "damaged-"
_LATE = re.compile(r"\d+\.orbax-checkpoint-tmp.*")
"""Names of the temporary folders in which Orbax writes."""

log = logging.getLogger(__name__)


class Checkpoints:
    """The bundles of one run, newest last."""

    def __init__(self, workdir: str | Path, *, keep: int) -> None:
        """Opens `workdir/checkpoints`, and creates it if it is absent.

        The caller must hold the lock of the workdir, because this removes what a killed
        run was writing here.

        Args:
            workdir: Folder of the run.
            keep: Number of newest bundles to keep.
        """
        self._directory = folders.real(Path(workdir) / FOLDER)
        self._unfinished = self._directory / UNFINISHED
        self._keep = keep
        self._writing: Callable[[], None] | None = None
        self._writer = futures.ThreadPoolExecutor(1)
        if jax.process_index() == 0:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._remove_unfinished()
        self.latest_step: int | None = max(self._steps(), default=None)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Closing waits for a bundle that is being written, and so for all processes.
        # That would be in vain if an error shows that one of them may be gone.
        agreed = error is None or isinstance(error, (InputError, SystemExit))
        if agreed or jax.process_count() == 1:
            try:
                self._wait()
            finally:
                if jax.process_index() == 0:
                    self._remove_unfinished()

    def is_new(self) -> bool:
        """Returns whether nothing was ever saved here: a run may begin at step 0."""
        new = True
        if jax.process_index() == 0:
            new = not self._steps() and not any(self._directory.glob(f"{DAMAGED}*"))
        return bool(multihost_utils.broadcast_one_to_all(np.bool_(new)))

    def save(
        self,
        state: TrainState,
        iterator: TrainingBatches,
        clock: Mapping[str, float],
        metadata: Metadata,
    ) -> None:
        """Starts to write a bundle named by the state's step; returns after the copy.

        The iterator must stand just after the batch of the state's last step.

        Raises:
            InputError: If disk space, a permission or memory is missing for this bundle
                or the one before. Bundles on the disk stay as they are.
        """
        step = int(state.step)
        self._wait()
        if step == self.latest_step:
            return
        if jax.process_index() == 0 and not self._unfinished.is_dir():
            self._unfinished.mkdir()
            marks.mark(self._unfinished, UNFINISHED)
        bundle = self._unfinished / str(step)
        with refusals.explained(self._directory), arrays.written_by_one():
            response = ocp.save_checkpointables_async(
                str(bundle),
                {
                    "model": _model_tree(state),
                    "train": {"opt_state": state.opt_state, "step": state.step},
                    "data": iterator.get_state(),
                    "clock": dict(clock),
                },
                custom_metadata=bundles.told(metadata),
            )
        self._writing = response.result
        if jax.process_index() == 0:
            put = self._writer.submit(self._put_in_place, bundle, response)
            self._writing = put.result
        self.latest_step = step

    def restore(
        self,
        abstract: TrainState,
        iterator: TrainingBatches,
        clock: Mapping[str, float],
        check: Callable[[Metadata, Path], None],
    ) -> tuple[TrainState, dict[str, float]]:
        """Loads the newest undamaged bundle, and moves `iterator` to where it was.

        A damaged bundle is named in the log and renamed to `damaged-<step>`; then the
        one before it is taken. If a permission, the disk or memory does not allow to
        read a bundle now, the run stops and the bundle stays.

        Args:
            abstract: Shapes, types and shardings of the state to restore.
            iterator: An iterator over the same records.
            clock: A clock of the same fields.
            check: Function that raises InputError for the bundle of another model.

        Returns:
            The state and the clock.

        Raises:
            InputError: If the bundle holds another model or optimiser, is not of this
                program or cannot be read, or if all bundles are damaged.
        """
        wanted = {
            "model": _model_tree(abstract),
            "train": {"opt_state": abstract.opt_state, "step": abstract.step},
            "data": iterator.get_state(),
            "clock": dict(clock),
        }
        while True:
            bundle = self._newest_whole()
            check(load_metadata(bundle), bundle)
            try:
                there = bundles.described(bundle, ("model", "train"))
                arrays.refuse_other_arrays(bundle, there, wanted)
                with arrays.written_by_one():
                    loaded = bundles.load(bundle, wanted)
            except marks.DamageError as damage:  # of a bundle without checksums
                self._set_aside(bundle, damage)
                continue
            _refuse_other_name(bundle, int(loaded["train"]["step"]))
            self.latest_step = int(bundle.name)
            iterator.set_state(loaded["data"])
            return TrainState(**loaded["model"], **loaded["train"]), loaded["clock"]

    def _newest_whole(self) -> Path:
        """Finds the newest undamaged bundle; process 0 reads for all."""
        step = -1
        if jax.process_index() == 0:
            for step in sorted(self._steps(), reverse=True):
                try:
                    bundles.verify(self._directory / str(step))
                    break
                except marks.DamageError as damage:
                    self._set_aside(self._directory / str(step), damage)
            else:
                step = -1
        step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
        if step < 0:
            raise InputError(
                f"{self._directory}: no checkpoint can be read. Those set aside are "
                f"named {DAMAGED}<step>; start anew with another --config.workdir."
            )
        bundle = self._directory / str(step)
        if not bundle.exists():
            raise InputError(
                f"{bundle}: process 0 sees this checkpoint, process "
                f"{jax.process_index()} does not. Name a --config.workdir on a disk "
                "that all processes share."
            )
        return bundle

    def _set_aside(self, bundle: Path, damage: marks.DamageError) -> None:
        log.warning(
            "%s: this checkpoint is damaged (%s); taking the one before it",
            bundle,
            damage,
        )
        if jax.process_index() == 0:
            names = (f"{DAMAGED}{bundle.name}{end}" for end in _endings())
            aside = next(name for name in names if not (bundle.parent / name).exists())
            bundle.rename(bundle.with_name(aside))

    def _steps(self) -> list[int]:
        return [int(bundle.name) for bundle in _bundles(self._directory)]

    def _wait(self) -> None:
        """Waits for the bundle that is being written; raises its error, if any."""
        writing, self._writing = self._writing, None
        if writing is not None:
            with refusals.explained(self._directory):
                writing()

    def _put_in_place(self, bundle: Path, response: Any) -> None:
        """Waits until a bundle is written, marks and renames it, removes old ones."""
        try:
            response.result()
            marks.mark(bundle, bundles.KIND, sums=True)
            bundle.rename(self._directory / bundle.name)
        except BaseException:
            # Its disk space is needed. Other files may still be written: if one write
            # fails, Orbax does not wait for the others.
            for _ in range(5):
                self._remove_unfinished()
                time.sleep(0.1)
            self._remove_unfinished()
            raise
        marks.sync(self._directory)
        for step in sorted(self._steps())[: -self._keep]:
            self._remove(self._directory / str(step))

    def _remove_unfinished(self) -> None:
        ours = marks.is_ours(self._unfinished, UNFINISHED)
        if ours or _holds_late_files_only(self._unfinished):
            folders.remove(self._unfinished)

    def _remove(self, bundle: Path) -> None:
        """Removes a bundle of this program that nobody reads."""
        with locks.removing(bundle / bundles.METADATA_FILE) as free:
            ours = marks.own(bundle, bundles.KIND, bundles.as_before_marks)
            if not (free and ours):
                return
            gone = self._unfinished / f"removed-{bundle.name}"
            bundle.rename(gone)
        folders.remove(gone)


def _holds_late_files_only(folder: Path) -> bool:
    """Returns whether late files made a folder again after its removal."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return bool(names) and all(_LATE.fullmatch(name) for name in names)


@contextlib.contextmanager
def by_one_process() -> Iterator[None]:
    """Lets this process load alone, without the others, while the context lasts."""
    if jax.process_count() == 1:
        yield
        return
    alone = ocp.Context()
    alone.multiprocessing.active_processes = {jax.process_index()}
    alone.multiprocessing.primary_host = jax.process_index()
    alone.multiprocessing.barrier_sync_key_prefix = f"alone{jax.process_index()}"
    with alone:
        yield


def latest(path: str | Path) -> Path:
    """Finds the bundle that `path` names: a bundle, or the newest one of a run.

    Args:
        path: A bundle, the folder of a run, or its folder `checkpoints`.

    Raises:
        InputError: If there is no bundle, or the folder cannot be read.
    """
    path = Path(path).absolute()
    try:
        if (path / "model").is_dir():
            return path
        folder = path / FOLDER if (path / FOLDER).is_dir() else path
        candidates = _bundles(folder)
    except OSError as error:
        raise refusals.unreadable(path, error) from error
    if not candidates:
        raise InputError(
            f"{path}: no checkpoint here. Train one with "
            "`python -m mmgr_jax.main --config=...`, or name another with "
            "--checkpoint=RUN_OR_CHECKPOINT_FOLDER."
        )
    return max(candidates, key=lambda bundle: int(bundle.name))


@contextlib.contextmanager
def held(path: str | Path) -> Iterator[Path]:
    """Finds the `latest` bundle; no training removes it while the context lasts."""
    while True:
        bundle = latest(path)
        with locks.reading(bundle / bundles.METADATA_FILE) as there:
            # Without that file it is damaged; reading it will say so.
            if there or bundle.exists():
                yield bundle
                return


def save_model(workdir: str | Path, variables: Tree, metadata: Metadata) -> Path:
    """Writes a bundle of step 0 that holds only `model`.

    Args:
        workdir: Folder to make; `latest` finds the bundle in it.
        variables: {"params": ..., "batch_stats": ...}, or parts of them.
        metadata: Metadata of the bundle.

    Returns:
        Folder of the bundle.

    Raises:
        InputError: If the folder holds checkpoints already, or cannot be written to.
    """
    folder = folders.real(Path(workdir) / FOLDER)
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: holds checkpoints already. Name another folder, or remove it."
        )
    bundle = folder / "0"
    with refusals.explained(folder):
        new = folders.partial(bundle, bundles.KIND)
        try:
            ocp.save_checkpointables(
                str(new / "0"),
                {"model": dict(variables)},
                custom_metadata=bundles.told(metadata),
            )
            marks.mark(new / "0", bundles.KIND, sums=True)
            (new / "0").rename(bundle)
        finally:
            folders.remove(new)
    return bundle


def _refuse_other_name(bundle: Path, step: int) -> None:
    """Raises InputError if the name of a bundle is not its step."""
    if bundle.name != str(step):
        raise InputError(
            f"{bundle}: holds step {step}, so somebody has renamed it. Call it {step}, "
            "or move it away, and give the command again."
        )


def _model_tree(state: TrainState) -> Tree:
    return {"params": state.params, "batch_stats": state.batch_stats}


def _bundles(folder: Path) -> list[Path]:
    try:
        entries = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise refusals.unreadable(folder, error) from error
    return [entry for entry in entries if entry.name.isdecimal()]


def _endings() -> Iterator[str]:
    """Yields "", then "-2", "-3" and so on, for names that are taken."""
    yield ""
    for number in itertools.count(2):
        yield f"-{number}"
