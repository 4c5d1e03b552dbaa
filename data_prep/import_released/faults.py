"""What is wrong with a sample: noted file by file, told all at once."""

from __future__ import annotations

from collections.abc import Sequence

from data_prep.files import faults


class Faults:
    """Complaints in the order they came up, each told once with the files' names."""

    def __init__(self) -> None:
        """Starts without any."""
        self._names: dict[str, list[str]] = {}

    def add(self, complaint: str, *names: str) -> None:
        """Notes a complaint, and the files, regions or rows it holds for."""
        self._names.setdefault(complaint, []).extend(names)

    def refuse(self, city: str) -> None:
        """Raises an `InputError` with all that was noted, where anything was."""
        faults.refuse(city, self.told())

    def told(self) -> Sequence[str]:
        """A line a complaint, with the number and names of what it holds for."""
        return [
            f"{complaint} ({len(names)}): {faults.names(names)}."
            if names
            else f"{complaint}."
            for complaint, names in self._names.items()
        ]
