"""Small cities as a configuration: FILE.py:city=RAW or FILE.py:records=FOLDER."""

from pathlib import Path

import small_city
from small_records import config_of


def get_config(argument):
    """The config of a folder of raw files, or of records."""
    kind, _, folder = argument.partition("=")
    if kind == "city":
        return small_city.describe(folder)
    config = config_of(Path(folder), Path(folder).parent)
    config.data.batch_size = 4
    return config
