"""Makes the modules beside the tests, and those of data preparation, importable."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "fuzz"), str(TESTS / "data_prep"), str(TESTS / "page")]
