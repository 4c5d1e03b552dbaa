"""Ranks regions by a text: the text becomes POIs, and these are compared by cosine."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from mmgr_jax import run_settings, summary
from mmgr_jax.data import record_format, texts
from mmgr_jax.data.source import RecordSource, open_source
from mmgr_jax.data.unit_vectors import unit_rows
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import inference, readouts
from mmgr_jax.evaluation.inference_encoder import InferenceEncoder
from mmgr_jax.query.kinds import KINDS
from mmgr_jax.store import checkpoint
from mmgr_jax.typing import PoiSets, Tree

COLUMNS = ("text", "rank", "region_id", "cosine", "num_pois", "main_categories")
ENDINGS = (".parquet", ".csv")
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The regions of a city, ranked by one text.

    Attributes:
        text: The text.
        asked: Categories and numbers of the POIs that the text was turned into.
        order: Regions, the most similar first [r].
        cosine: Cosine of each of these regions [r].
    """

    text: str
    asked: tuple[tuple[str, int], ...]
    order: Int[np.ndarray, " r"]
    cosine: Float[np.ndarray, " r"]


def rank(
    config: ConfigDict,
    source: RecordSource,
    queries: Sequence[str],
    *,
    by: str = "image",
    nearest: int = texts.NEAREST,
) -> list[Ranking]:
    """Ranks the regions by each of the given texts.

    Args:
        config: The city's configuration, which names the checkpoint or the workdir.
        source: The records of the city.
        queries: The texts.
        by: A key of `KINDS`.
        nearest: Largest number of categories that a text may turn into.

    Raises:
        InputError: If the category vectors were not made from texts, the checkpoint is
            missing or does not fit, or the text model has no vector for a text.
    """
    space = texts.TextSpace.load(source.records_dir)
    table = source.category_vectors()
    if (len(space.phrases), len(space.components)) != table.shape:
        raise InputError(
            f"{source.records_dir / texts.FILE}: made for "
            f"{len(space.phrases)} categories of {len(space.components)} numbers, but "
            f"the vectors beside it are {table.shape[0]} of {table.shape[1]}. Make "
            "both again with `python -m data_prep.category_embedding --config=...`."
        )
    with checkpoint.held(run_settings.read(config).to_load) as bundle:
        encoder = inference.load_encoder(config, bundle, source)
    if encoder.parts and not {"poi_encoder", "poi_head"} <= set(encoder.parts):
        raise InputError(
            f"{bundle}: holds {', '.join(encoder.parts)} alone, but a text goes "
            "through the POI encoder and its head. Name a checkpoint of a whole run."
        )
    size = typical_number_of_pois(source)
    sets = [
        as_pois(vector, table, number=size, nearest=nearest)
        for vector in space.vectors(queries)
    ]
    numbers = encoder.numbers(source.manifest.categories)
    known = sets
    if numbers is not None:
        known = [
            [
                (int(numbers[index]), count)
                for index, count in pois
                if numbers[index] >= 0
            ]
            for pois in sets
        ]
    asked = _projections(encoder, known)
    log.info("projections of %d regions (%s) ...", len(source), bundle)
    regions = readouts.encoded(config, encoder, source)[KINDS[by]].values
    names = source.manifest.categories
    rankings = []
    for text, pois, row in zip(
        queries, sets, _unit64(asked) @ _unit64(regions).T, strict=True
    ):
        order = np.argsort(-row, kind="stable")
        counts = tuple((names[index], int(count)) for index, count in pois)
        rankings.append(Ranking(text, counts, order, row[order]))
    return rankings


def as_pois(
    vector: Float[np.ndarray, " d"],
    table: Float[np.ndarray, "k d"],
    *,
    number: int,
    nearest: int,
) -> list[tuple[int, int]]:
    """Turns a text into POIs, which are shared among the categories nearest to it.

    The shares are a softmax of the cosines over `texts.TEMPERATURE`. The numbers of
    POIs are rounded so that their sum is right (largest remainders). Categories without
    POIs are left out.

    Args:
        vector: The text's vector in the space of the table.
        table: The categories' vectors.
        number: Total number of POIs.
        nearest: Largest number of categories.

    Returns:
        Pairs (category, number of its POIs), the nearest category first.
    """
    cosine = _unit64(table) @ _unit64(vector[None])[0]
    chosen = np.argsort(-cosine, kind="stable")[:nearest]
    share = np.exp((cosine[chosen] - cosine[chosen[0]]) / texts.TEMPERATURE)
    wanted = number * share / share.sum()
    counts = np.floor(wanted).astype(int)
    rest = np.argsort(counts - wanted, kind="stable")[: number - counts.sum()]
    counts[rest] += 1
    pairs = zip(chosen.tolist(), counts.tolist(), strict=True)
    return [(category, count) for category, count in pairs if count]


def typical_number_of_pois(source: RecordSource) -> int:
    """The median number of POIs in regions with POIs, rounded up.

    Raises:
        InputError: If no region has POIs.
    """
    counts = [len(record["poi/category"]) for record in _records(source)]
    if not any(counts):
        raise InputError(
            f"{source.records_dir}: no region has a POI, so the POI encoder has "
            "learnt nothing that a text can ask for. Build the records with POIs in "
            "their regions."
        )
    return int(np.ceil(np.median([count for count in counts if count])))


def main_categories(
    category: Int[np.ndarray, " n"], names: Sequence[str], number: int = 3
) -> str:
    """Names the commonest categories of some POIs, such as "cafe 4, bank 1"."""
    counts = np.bincount(category, minlength=len(names))
    top = np.argsort(-counts, kind="stable")[:number]
    return ", ".join(f"{names[i]} {counts[i]}" for i in top if counts[i])


def query(
    config: ConfigDict,
    queries: Sequence[str],
    *,
    top: int,
    by: str = "image",
    nearest: int = texts.NEAREST,
    out: str | None = None,
) -> list[Ranking]:
    """Ranks the regions, prints the first ones, and writes all of them.

    Args:
        config: See `rank`.
        queries: The texts.
        top: Number of regions printed for each text.
        by: See `rank`.
        nearest: See `rank`.
        out: A file ending in one of `ENDINGS`; None writes nothing.

    Raises:
        InputError: See `rank`; or if an argument makes no sense.
    """
    queries = [text.strip() for text in queries]
    _refuse_senseless(queries, top, nearest, out)
    source = open_source(config)
    rankings = rank(config, source, queries, by=by, nearest=nearest)
    regions = _regions(source)
    for ranking in rankings:
        asked = ", ".join(f"{name} x {count}" for name, count in ranking.asked)
        print(f"\n{ranking.text}  (asked for: {asked})")
        print(f"{'rank':>4}  {'region':<20}  {'cosine':>6}  {'POIs':>5}  commonest")
        pairs = zip(ranking.order.tolist(), ranking.cosine.tolist(), strict=True)
        for place, (index, cosine) in enumerate(list(pairs)[:top], 1):
            region = regions[index]
            print(
                f"{place:>4}  {region['region_id']:<20}  {cosine:6.3f}  "
                f"{region['num_pois']:>5}  {region['main_categories']}".rstrip()
            )
    if out is not None:
        _write(Path(out), source, rankings, regions)
    return rankings


def _regions(source: RecordSource) -> list[dict[str, Any]]:
    """The facts that are shown about each region."""
    names = source.manifest.categories
    return [
        {
            "region_id": record["region_id"],
            "num_pois": len(record["poi/category"]),
            "main_categories": main_categories(record["poi/category"], names),
            "geometry": record["geometry"],
        }
        for record in _records(source)
    ]


def _write(
    path: Path,
    source: RecordSource,
    rankings: Sequence[Ranking],
    regions: Sequence[Mapping[str, Any]],
) -> None:
    from mmgr_jax.geo import rows  # geopandas loads here alone

    table = [
        {"text": ranking.text, "rank": place, "cosine": cosine, **regions[index]}
        for ranking in rankings
        for place, (index, cosine) in enumerate(
            zip(ranking.order.tolist(), ranking.cosine.tolist(), strict=True), 1
        )
    ]
    columns = {name: [row[name] for row in table] for name in COLUMNS}
    geometry = [row["geometry"] for row in table]
    rows.write(path, columns, geometry, source.manifest.crs)
    figure = f"{len(table)} rows, every region for each text"
    summary.end([figure], {"table": path})


def _projections(
    encoder: InferenceEncoder, sets: Sequence[Sequence[tuple[int, int]]]
) -> Float[np.ndarray, "t p"]:
    """Computes projections of POI sets that are given as categories and numbers.

    The places of such POIs are not known, so all lie at the centre without edges.
    """
    slots = max(sum(count for _, count in pois) for pois in sets)
    category = np.zeros((len(sets), slots), np.int32)
    mask = np.zeros((len(sets), slots), bool)
    for row, pois in enumerate(sets):
        members = [index for index, count in pois for _ in range(count)]
        category[row, : len(members)], mask[row, : len(members)] = members, True
    edges, weight = None, None
    if encoder.reads_edges:
        edges = jnp.zeros((len(sets), 1, 2), jnp.int32)
        weight = jnp.zeros((len(sets), 1), jnp.float32)
    offset_m = jnp.zeros((*mask.shape, 2), jnp.float32)
    pois = PoiSets(jnp.asarray(category), offset_m, jnp.asarray(mask), edges, weight)

    def project(variables: Tree, pois: PoiSets) -> jax.Array:
        pooled = encoder.model.apply(variables, pois, method="encode_pois")
        projected = encoder.model.apply(variables, pooled, method="project_pois")
        return cast(jax.Array, projected)

    return np.asarray(jax.jit(project)(encoder.variables, pois), np.float32)


def _records(source: RecordSource) -> Iterator[record_format.Record]:
    """All regions in order, without their tiles."""
    for rows in source.parts():
        yield from source.read(rows)


def _refuse_senseless(
    queries: Sequence[str], top: int, nearest: int, out: str | None
) -> None:
    if not queries or not all(queries):
        raise InputError('--text is missing or empty: say --text="university campus".')
    for name, value in (("top", top), ("nearest", nearest)):
        if value < 1:
            raise InputError(f"--{name}={value}; allowed: 1 or more.")
    if out is not None and not out.endswith(ENDINGS):
        raise InputError(f"--out={out!r}; allowed: a file ending in .parquet or .csv.")


def _unit64(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return unit_rows(np.asarray(rows, np.float64))
