"""The hand-made city within reach of the tests beside it, whole or to be broken."""

import dataclasses
import functools
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


@pytest.fixture(scope="module")
def textures_once():
    """Textures of a seed are drawn once: they take half of the time of a small city.

    They are the same for a seed whatever the options; nobody may write to them.
    """
    from data_prep.toy_city import texture

    draw = texture.make_textures

    @functools.lru_cache(maxsize=2)
    def drawn(seed, gsd_m):
        textures = draw(seed, gsd_m)
        for field in dataclasses.fields(textures):
            getattr(textures, field.name).flags.writeable = False
        return textures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texture, "make_textures", drawn)
        yield


@pytest.fixture
def city(good_city, tmp_path):
    """A copy of it, to be broken."""
    from broken_city import City

    return City(good_city, tmp_path / "city")
