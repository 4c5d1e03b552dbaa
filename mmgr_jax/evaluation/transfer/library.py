"""Features of every city by every encoder, and those of the baselines."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax.evaluation import inference
from mmgr_jax.evaluation.cities import alike
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import subsets
from mmgr_jax.evaluation.inference_encoder import InferenceEncoder
from mmgr_jax.evaluation.readouts import EvaluatedCity, Extracted, Readout
from mmgr_jax.evaluation.settings import Kind
from mmgr_jax.evaluation.transfer.encoders import TrainedOn
from mmgr_jax.store import checkpoint

RANDOM = TrainedOn("random", ())
"""The same network with random weights."""


class Library:
    """Features of the regions of cities, computed once and stored in the workdir."""

    def __init__(
        self, config: ConfigDict, workdir: Path, cities: Mapping[str, EvaluatedCity]
    ) -> None:
        """Opens nothing yet.

        Args:
            config: Describes the model and the readout.
            workdir: Folder of the study; the runs of the encoders are in `encoders/`.
            cities: Name -> city.
        """
        self._config, self._workdir, self._cities = config, workdir, cities
        self._counted = dict(zip(cities, alike(list(cities.values())), strict=True))
        self._features: dict[tuple[str, str, str], Features] = {}

    def run(self, trained: TrainedOn) -> Path:
        """Returns the folder of the run of an encoder."""
        return self._workdir / "encoders" / trained.folder

    def features(self, trained: TrainedOn, city: str, kind: Kind) -> Features:
        """Returns features of a city by an encoder, with surroundings, for heads."""
        key = trained.folder, city, kind
        if key not in self._features:
            readout, extracted = self._read(trained, city)
            self._features[key] = readout.features(extracted, kind)
        return self._features[key]

    def baseline(self, name: str, city: str) -> Features:
        """Returns features of a baseline, with the POI categories of all cities."""
        key = "", city, name
        if key not in self._features:
            self._features[key] = self._plain(city).baseline(name)
        return self._features[key]

    @functools.cache  # noqa: B019  one library a program
    def _read(self, trained: TrainedOn, city: str) -> tuple[Readout, Extracted]:
        folder = self.run(trained) / "read" / city
        readout = Readout(self._at(folder), self._cities[city])
        return readout, readout.encoded(self._encoder(trained))

    @functools.cache  # noqa: B019
    def _plain(self, city: str) -> Readout:
        folder = self._workdir / "baselines" / city
        return Readout(self._at(folder), self._counted[city])

    @functools.lru_cache(maxsize=1)  # noqa: B019  one at a time in memory
    def _encoder(self, trained: TrainedOn) -> InferenceEncoder:
        config = self._at(self.run(trained))
        config.corpus.unknown_categories = "drop"  # said when the cities are opened
        if trained is RANDOM:
            source = next(iter(self._cities.values())).source
            return inference.random_encoder(config, source)
        source = self._cities[trained.cities[0]].source
        with checkpoint.held(self.run(trained)) as bundle:
            return inference.load_encoder(config, bundle, source)

    def _at(self, folder: Path) -> ConfigDict:
        config = self._config.copy_and_resolve_references()
        config.workdir = str(folder)
        return config


def side_by_side(parts: Sequence[Features], *, by_city: bool) -> Features:
    """Joins the regions of several cities, one city after another, in memory.

    The result has no rings, because cities are tested as a whole.

    Args:
        parts: Features of each city.
        by_city: Whether each column is standardised by the mean and deviation of each
            city.
    """
    values = [_standardised(one.values) if by_city else one.values for one in parts]
    return Features((np.concatenate(values),), parts[0].groups)


def _standardised(values: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and deviation 1; those without variation are 0."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    inverse = subsets.inverse_deviation(mean, deviation, None)
    return ((values - mean) * inverse).astype(np.float32)
