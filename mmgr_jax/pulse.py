"""Shows in a terminal that a command still works while it prints nothing."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

SILENCE_S = 5.0
"""Seconds without output after which the line is shown, and is written anew."""


class Pulse:
    """Shows below the last line how long nothing was printed, and removes it again.

    Its line does not end in a line feed, so the next line of the program replaces it.
    """

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        """Shows nothing before `start`.

        Args:
            silence_s: Seconds without output after which it shows something.
        """
        self._silence_s = silence_s
        self._lock = threading.RLock()
        self._send: Callable[[str], None] | None = None
        self._last = time.monotonic()
        self._at_line_start = True
        self._shown = 0  # characters

    def start(self, send: Callable[[str], None]) -> None:
        """Begins to watch, in a thread.

        Args:
            send: Writes a text into the terminal.
        """
        if self._send is not None:
            return
        self._send, self._last = send, time.monotonic()
        threading.Thread(target=self._watch, name="pulse", daemon=True).start()

    @contextlib.contextmanager
    def interrupted_by(self, text: str) -> Iterator[None]:
        """Removes the line while the program writes a text in its place."""
        with self._lock:
            self._take_away()
            yield
            self._last = time.monotonic()
            if text:
                self._at_line_start = text.endswith("\n")

    def stop(self) -> None:
        """Removes the line and shows no other."""
        with self._lock:
            self._take_away()
            self._send = None

    def forget(self) -> None:
        """Resets a forked process, which has no such thread; its lock may be held."""
        self._lock = threading.RLock()
        self._send, self._shown = None, 0

    def _watch(self) -> None:
        shown = 0
        while self._send is not None:
            time.sleep(self._silence_s / 5)
            with self._lock:
                silent_s = time.monotonic() - self._last
                number = int(silent_s / self._silence_s)
                if number == 0:
                    shown = 0
                elif number != shown and self._at_line_start and self._send:
                    shown = number
                    text = f"  ... still working, {silent_s:.0f} s"
                    self._send(f"\r{text.ljust(self._shown)}")
                    self._shown = len(text)
                    sys.stdout.flush()

    def _take_away(self) -> None:
        if self._shown and self._send is not None:
            self._send(f"\r{' ' * self._shown}\r")
            self._shown = 0
