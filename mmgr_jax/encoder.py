"""A trained encoder for other programs: tiles and POI sets in, embeddings out.

    import mmgr_jax

    encoder = mmgr_jax.load("runs/toy_city")
    embeddings = encoder.embed_tiles(tiles)       # uint8 [n h w 3] -> float32 [n f]

It needs neither records nor a config file, and reads no imagery itself.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from mmgr_jax import settings
from mmgr_jax.card import card, evaluated, example, stac_item
from mmgr_jax.data import corpus, pipeline, poi_sets
from mmgr_jax.data.pixels import PixelStatistics
from mmgr_jax.data.poi_sets import UNKNOWN as UNKNOWN
from mmgr_jax.data.poi_sets import Places as Places
from mmgr_jax.data.source import RecordSource
from mmgr_jax.data.unit_vectors import unit_rows
from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import feature_sets, inference_encoder
from mmgr_jax.evaluation.compiled import CompiledModel, Palette
from mmgr_jax.models import mmgr, start
from mmgr_jax.models.settings import ModelSettings
from mmgr_jax.store import checkpoint, exported, identity
from mmgr_jax.store.exported import About
from mmgr_jax.typing import Tree

if TYPE_CHECKING:
    from geopandas import GeoDataFrame


def load(path: str | Path) -> Encoder:
    """Loads the encoder of a run, a checkpoint, or a folder that `Encoder.save` wrote.

    Args:
        path: The folder.

    Raises:
        InputError: If there is no such encoder, or it is damaged.
    """
    if exported.is_there(path):
        about = exported.about(path)
        model = _model(about)
        return Encoder(about, model, exported.load(path, _abstract(model, about)))
    with checkpoint.held(path) as bundle:
        stored = checkpoint.load_metadata(bundle)
        if stored.parts:
            raise InputError(
                f"{bundle}: holds {', '.join(stored.parts)} alone. Name a checkpoint "
                "of a training run."
            )
        about = exported.about_checkpoint(stored, bundle)
        model = _model(about)
        variables = checkpoint.load_model(bundle, _abstract(model, about))
    weights = identity.of_weights(variables)
    about = dataclasses.replace(about, weights=weights)
    return Encoder(about, model, variables, bundle)


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A trained encoder.

    Attributes:
        about: What the encoder is, what it expects and how it was made.
        model: The Flax module.
        variables: The model's parameters and batch statistics, on the devices.
        bundle: The checkpoint that the encoder was read from; None for a saved encoder.
    """

    about: About
    model: mmgr.MMGR
    variables: Tree
    bundle: Path | None = None

    def embed_tiles(
        self,
        tiles: np.ndarray,
        *,
        pixels: PixelStatistics | None = None,
        batch_size: int = 64,
    ) -> Float[np.ndarray, "n f"]:
        """Computes the image features of tiles, which heads and maps use.

        Args:
            tiles: uint8 [n h w 3], in the order red, green, blue. Each is a whole tile,
                seen from above, with a side of `about.tile_size_m` metres. Tiles are
                resized.
            pixels: Mean and standard deviation of the pixels of the tiles' city; only
                if `about.normalise` is "city". They come from `PixelStatistics.of` all
                tiles of the city, or from the manifest of its records.
            batch_size: Tiles at a time.

        Returns:
            float32 [n f].

        Raises:
            InputError: If `tiles` has another type or shape, or the encoder does not
                read tiles; if `pixels` is missing, or has no effect.
        """
        tiles, palette = self._checked(tiles), self._palette(pixels)
        return self._compiled.embed_tiles(tiles, palette, batch_size)

    def embed_pois(
        self,
        places: Places,
        *,
        centre_m: Float[np.ndarray, "n 2"] | None = None,
        unknown: str = "refuse",
        batch_size: int = 256,
    ) -> Float[np.ndarray, "n q"]:
        """Computes the features of POI sets, one for each region; sets may be empty.

        Args:
            places: The sets; see `Places`.
            centre_m: Centres of the regions, in the CRS of GeoDataFrames in `places`.
            unknown: "refuse" or "leave out": what to do with unknown categories.
            batch_size: Sets at a time.

        Returns:
            float32 [n q].

        Raises:
            InputError: If a category is unknown, or the encoder needs the positions of
                POIs and they are missing.
        """
        sets = self._sets(places, centre_m, unknown)
        return self._compiled.embed_pois(sets, batch_size)

    def project_tiles(
        self,
        tiles: np.ndarray,
        *,
        pixels: PixelStatistics | None = None,
        batch_size: int = 64,
    ) -> Float[np.ndarray, "n p"]:
        """Computes unit vectors of tiles, in the space that they share with POI sets.

        The dot product of a tile's and a POI set's vector is their cosine similarity.

        Args:
            tiles: As for `embed_tiles`.
            pixels: As for `embed_tiles`.
            batch_size: Tiles at a time.
        """
        tiles, palette = self._checked(tiles), self._palette(pixels)
        return unit_rows(self._compiled.project_tiles(tiles, palette, batch_size))

    def project_pois(
        self,
        places: Places,
        *,
        centre_m: Float[np.ndarray, "n 2"] | None = None,
        unknown: str = "refuse",
        batch_size: int = 256,
    ) -> Float[np.ndarray, "n p"]:
        """Computes unit vectors of POI sets in the shared space; see `embed_pois`."""
        sets = self._sets(places, centre_m, unknown)
        return unit_rows(self._compiled.project_pois(sets, batch_size))

    def embed_records(
        self,
        records_dir: str | Path,
        *,
        features: feature_sets.Kind = "image",
        unknown: str = "refuse",
        batch_size: int = 64,
        num_threads: int = 8,
    ) -> GeoDataFrame:
        """Computes embeddings of all regions in a records folder, with surroundings.

        Args:
            records_dir: A records folder that `data_prep.build` wrote.
            features: Kind of features, such as "image", "poi" or "both".
            unknown: "refuse" or "leave out": what to do with unknown categories.
            batch_size: Regions at a time.
            num_threads: Number of threads that read records.

        Returns:
            A table with the columns `region_id`, `embedding` (a float32 array in each
            row) and `geometry`.

        Raises:
            InputError: If the records are damaged, an argument is not allowed, or the
                records have categories that the encoder does not know and may not leave
                out.
        """
        from mmgr_jax.geo import rows

        if features not in feature_sets.KINDS:
            allowed = ", ".join(feature_sets.KINDS)
            raise InputError(f"features={features!r} is unknown; allowed: {allowed}.")
        poi_sets.check_unknown(unknown)
        source = RecordSource(records_dir)
        numbers = corpus.numbers_in(source.manifest.categories, self.about.categories)
        if unknown == "refuse" and numbers is not None and (numbers < 0).any():
            raise InputError(
                f"{records_dir}: has {(numbers < 0).sum()} POI categories that are "
                f"none of the {len(self.about.categories)} the encoder was trained "
                "with. Build the records with the encoder's list "
                "(config.pois.categories), or leave these POIs out by "
                'unknown="leave out".'
            )
        city = feature_sets.EvaluatedCity.of(source)
        config = ConfigDict(
            {
                "readout": dict(self.about.readout),
                "data": {"batch_size": batch_size, "num_threads": num_threads},
            }
        )
        readout = feature_sets.Readout(config, city)
        whole = inference_encoder.encoder(
            self.model,
            self.variables,
            self._compiled.mesh,
            "encoder",
            size_px=self.about.size_px,
            normalise=self.about.normalise,
            readout=self.about.readout["image"],
        )
        whole = dataclasses.replace(whole, categories=self.about.categories)
        read = readout.features(readout.encoded(whole), features)
        return rows.frame(
            {"region_id": city.regions.region_ids, "embedding": list(read.values)},
            city.regions.geometry_wkb,
            source.manifest.crs,
        )

    def save(self, folder: str | Path, *, licence: str = "") -> Path:
        """Writes the encoder as one folder and returns the path of the folder.

        `mmgr_jax.load` opens it on another machine, without the run. It holds
        `model.safetensors`, `model.json` and a card, `README.md`. The card says what is
        known about training, sources and licences, and the report's scores.
        `stac_item.json` is the card in STAC with the Machine Learning Model extension.

        Args:
            folder: Folder to make. If it holds a saved encoder already, it is replaced.
            licence: Licence under which others may use it.

        Raises:
            InputError: If the folder holds something else, or cannot be written to; or
                the report beside the run is damaged.
        """
        about = dataclasses.replace(self.about, licence=licence or self.about.licence)
        if self.bundle is not None:
            about = evaluated.with_evaluation(about, self.bundle)
        pois = self.model.poi_encoder
        reads = ("graph" if pois.reads_edges else "places") if pois.context else "names"
        written = card.text(about, example.of_saved(about, reads))
        count = sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))
        item = stac_item.of_saved(about, widths=self._widths(), num_parameters=count)
        return exported.save(
            folder, about, jax.device_get(self.variables), written, item
        )

    # ---- how ----

    def _widths(self) -> dict[str, int]:
        """Lengths of the embeddings of tiles and POI sets, where they can be known.

        Nothing is computed.
        """
        widths = {}
        if not self.model.reads_table:
            side = self.about.tile_size_px or self.about.size_px
            by_city = self.about.normalise == "city"
            widths["image"] = self._compiled.image_width(side, by_city=by_city)
        if not self.model.poi_encoder.reads_edges:
            widths["poi"] = self._compiled.poi_width()
        return widths

    @functools.cached_property
    def _compiled(self) -> CompiledModel:
        return CompiledModel(
            self.model,
            self.variables,
            size_px=self.about.size_px,
            every_stage=self.about.readout["image"] == "stages",
        )

    def _checked(self, tiles: np.ndarray) -> np.ndarray:
        tiles = np.asarray(tiles)
        if self.model.reads_table:
            raise InputError(
                "this encoder reads a table of features in place of tiles; embed those "
                "by the program that made the table."
            )
        if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[-1] != 3:
            raise InputError(
                f"tiles have type {tiles.dtype} and shape {tiles.shape}; allowed: "
                "uint8 [n h w 3], red, green, blue."
            )
        return tiles

    def _palette(self, pixels: PixelStatistics | None) -> Palette:
        if (pixels is not None) == (self.about.normalise == "city"):
            return None if pixels is None else pixels.palette[None]
        if pixels is not None:
            raise InputError(
                "pixels= has no effect: this encoder normalises the pixels of all "
                "cities alike. Leave it out."
            )
        raise InputError(
            "this encoder normalises pixels by the mean and deviation of their city: "
            "give pixels=mmgr_jax.PixelStatistics.of(all tiles of the city)."
        )

    def _sets(
        self, places: Places, centre_m: np.ndarray | None, unknown: str
    ) -> pipeline.Batch:
        if self.model.poi_encoder.reads_edges:
            raise InputError(
                "this POI encoder reads the graph of a region's POIs, which records "
                "hold; call embed_records."
            )
        return poi_sets.padded(
            places,
            self.about.categories,
            unknown=unknown,
            reads_places=self.model.poi_encoder.context is not None,
            centre_m=centre_m,
        )


def _model(about: About) -> mmgr.MMGR:
    metadata = checkpoint.Metadata({}, about.categories, about.category_dim)
    if about.model["image_encoder"]["name"] == "table":
        raise InputError(
            "this encoder reads a table of features by region in place of tiles, so it "
            "works beside its records alone: `python -m mmgr_jax.embed`."
        )
    return start.build_model(
        settings.read(ModelSettings, about.model, "model"), metadata
    )


def _abstract(model: mmgr.MMGR, about: About) -> Tree:
    """Shapes and types of the variables, of which every device holds a full copy."""
    shapes = jax.eval_shape(
        lambda key: start.init_variables(model, key, 8, about.size_px),
        jax.random.key(0),
    )
    layout = sharding.replicated(sharding.local_mesh(MeshSettings()))
    return checkpoint.abstract_like(shapes, layout)
