"""All that a config says of the preparation of a city's data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from data_prep.category_embedding.settings import CategoryVectorSettings
from data_prep.imagery.settings import ImagerySettings
from data_prep.import_released.settings import ReleasedSettings
from data_prep.labels.settings import LabelSettings
from data_prep.pois.settings import PoiSettings
from data_prep.records.settings import RecordSettings
from data_prep.regions.settings import RegionSettings
from data_prep.splits.settings import BlockSettings
from data_prep.toy_city.settings import ToyCitySettings
from mmgr_jax import addresses
from mmgr_jax import settings as settings_lib
from mmgr_jax.errors import InputError
from mmgr_jax.settings import Section


@dataclasses.dataclass(frozen=True)
class CitySettings(Section):
    """The name of the city, and its coordinate reference system.

    Attributes:
        name: Short name of the study area; its folders and files are named after it.
        crs: CRS in metres for regions, tiles and distances, such as "EPSG:32651".
    """

    name: str
    crs: str


@dataclasses.dataclass(frozen=True)
class PreparationSettings(Section):
    """The sections of a config that data preparation reads.

    Attributes:
        city: The study area.
        toy_city: The city that is generated when the raw files are absent; None: none.
        released_sample: What is imported in place of a build; None: nothing.
        imagery: The images.
        pois: The points of interest.
        labels: Name -> where the label comes from.
        regions: What a region is.
        blocks: Which regions are tested together.
        records: Where records go.
        category_vectors: How vectors of POI categories are made.
    """

    city: CitySettings
    toy_city: ToyCitySettings | None = None
    released_sample: ReleasedSettings | None = None
    imagery: ImagerySettings = ImagerySettings()
    pois: PoiSettings = PoiSettings()
    labels: Mapping[str, LabelSettings] = dataclasses.field(default_factory=dict)
    regions: RegionSettings = RegionSettings()
    blocks: BlockSettings = BlockSettings()
    records: RecordSettings = RecordSettings()
    category_vectors: CategoryVectorSettings = CategoryVectorSettings()

    @property
    def records_dir(self) -> Path:
        """Where the records of the city go.

        Raises:
            InputError: If that is on object storage, where nothing is built.
        """
        if addresses.is_address(self.records.dir):
            address = addresses.checked(str(self.records.dir))
            raise InputError(
                f"config.records.dir={address}: records can be read from object "
                "storage, but not built there. Name a local folder, and copy all of "
                "it when it is finished, manifest.json last."
            )
        return Path(self.records.dir or f"data/{self.city.name}/records")


def read(config: ConfigDict) -> PreparationSettings:
    """The settings of data preparation in a config.

    Raises:
        InputError: For the first key that is unknown or holds what it must not.
    """
    names = [field.name for field in dataclasses.fields(PreparationSettings)]
    given = {name: config[name] for name in names if name in config}
    return settings_lib.read(PreparationSettings, given)
