"""Makes the raw files of a generated city, and recognises them later."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from data_prep import sources
from data_prep.files import disk
from data_prep.settings import PreparationSettings
from data_prep.toy_city import generator
from data_prep.toy_city.settings import ToyCitySettings

_FILE = "generated.json"


def generate(settings: ToyCitySettings) -> None:
    """Makes the raw files."""
    logging.info("generating the raw files of a city in %s", settings.out_dir)
    mark = Path(settings.out_dir) / _FILE
    with disk.writing(mark.parent, "config.toy_city.out_dir"):
        mark.unlink(missing_ok=True)
        generator.generate(settings)
        mark.write_text(note(settings), encoding="utf-8")


def is_generated(settings: PreparationSettings) -> bool:
    """Whether the raw files exist and were generated from these settings."""
    assert settings.toy_city is not None
    mark = Path(settings.toy_city.out_dir) / _FILE
    if not all(sources.present(path) for path in sources.named(settings).values()):
        return False
    wanted = note(settings.toy_city)
    return mark.exists() and mark.read_text(encoding="utf-8") == wanted


def note(settings: ToyCitySettings) -> str:
    """Returns the note that lies next to generated files once they are complete."""
    made_by = {"settings": settings.noted(), "generator": generator.VERSION}
    return json.dumps(made_by, indent=2, sort_keys=True) + "\n"
