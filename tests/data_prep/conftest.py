"""The hand-made city within reach of the tests beside it, whole or to be broken."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def good_city(tmp_path_factory):
    """The folder of the hand-made city: raw files, and records built from them."""
    import small_city

    from data_prep import build

    folder = tmp_path_factory.mktemp("good")
    build.build(small_city.write(folder))
    return folder


@pytest.fixture
def city(good_city, tmp_path):
    """A copy of it, to be broken."""
    from broken_city import City

    return City(good_city, tmp_path / "city")
