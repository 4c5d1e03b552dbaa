"""Writes the event file that TensorBoard shows."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

_FLUSH_S = 10.0

log = logging.getLogger(__name__)


class Board:
    """Writes numbers for TensorBoard; a full disk causes a warning and no error.

    The thread that calls it writes the file. The own writer of tensorboardX passes
    events to another thread, which dies if the disk is full, and then waits for ever.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        """Opens a new event file.

        Args:
            folder: Folder for the event files of a run.
            first_step: First step of this start. TensorBoard drops what earlier files
                hold of this step and later ones.
        """
        self._folder = folder
        self._events: EventsWriter | None = None
        self._flushed = time.monotonic()
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            self._events = EventsWriter(str(folder / "events"))
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(first_step, session_log=start)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds the numbers of a step, by name."""
        if self._events is None:
            return
        with self._told():
            for name, value in values.items():
                self._add(step, summary=summary.scalar(name, value))
            if time.monotonic() - self._flushed > _FLUSH_S:
                self._events.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        """Writes the remaining events and closes the file."""
        if self._events is not None:
            with self._told():
                self._events.close()
        self._events = None

    def _add(self, step: int, **content: object) -> None:
        assert self._events is not None
        event = event_pb2.Event(wall_time=time.time(), step=step, **content)
        self._events.write_event(event)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._events = None
            log.warning(
                "%s: cannot be written (%s); TensorBoard shows no more of this start",
                self._folder,
                error.strerror,
            )
