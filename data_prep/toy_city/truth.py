"""What is known of every region, for tests: latents, causes and the noise ceiling."""

from __future__ import annotations

import dataclasses
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from jaxtyping import Float

from data_prep.toy_city import economy
from data_prep.toy_city.area import Area, Points
from data_prep.toy_city.buildings import Built
from data_prep.toy_city.ceilings import COLUMNS
from data_prep.toy_city.layout import Blocks
from data_prep.toy_city.overlay import Overlay, region_area_m2
from data_prep.toy_city.places import Places
from data_prep.toy_city.settings import ToyCitySettings
from data_prep.toy_city.zoning import BUILT, ZONE, ZONES, Uses

# A region counts as built from this share of built blocks on (streets take a fifth).
BUILT_REGION_SHARE = 0.4
LATENTS = ("density", "greenness", "prosperity", "specialisation", "noise")
VISIBILITY = {
    "zone": {"image": "plain, but quiet among the alike zones", "pois": "loud"},
    "density": {"image": "plain", "pois": "weak"},
    "greenness": {"image": "plain", "pois": "none"},
    "prosperity": {"image": "quiet: share of roof slots with a plant", "pois": "loud"},
    "specialisation": {"image": "none", "pois": "loud"},
    "noise": {"image": "none", "pois": "none"},
    "population_noise": {"image": "none", "pois": "none"},
}


def label_rasters(
    overlay: Overlay, blocks: Blocks, uses: Uses, built: Built
) -> dict[str, Float[np.ndarray, "h w"]]:
    """Population and GDP by label pixel, and what they were without some causes."""
    unknown = {
        "gdp": economy.Causes(),
        "gdp_without_noise": economy.Causes(noise=False),
        "gdp_image_visible": economy.Causes(noise=False, specialisation=False),
        "gdp_image_plain": economy.Causes(False, False, False),
    }
    rasters = {
        name: overlay.to_labels(economy.gdp_mcny(blocks, uses, built, causes))
        for name, causes in unknown.items()
    }
    for name, noise in (("population", True), ("population_without_noise", False)):
        persons = economy.population(blocks, uses, built, noise)
        rasters[name] = overlay.to_labels(persons)
    return rasters


def region_table(
    area: Area,
    overlay: Overlay,
    blocks: Blocks,
    uses: Uses,
    built: Built,
    places: Places,
    rasters: dict[str, Float[np.ndarray, "h w"]],
) -> gpd.GeoDataFrame:
    """Makes one row per region, from the north-west, row by row."""
    rows, columns = area.regions
    row, column = (grid.ravel() for grid in np.indices((rows, columns)))
    share = region_area_m2(area, blocks) / area.region_size_m**2
    table: dict[str, Any] = {"row": row, "column": column}
    zone_share = np.stack(
        [share @ (uses.zone == number).astype(float) for number in range(len(ZONES))], 1
    )
    zone_share[:, ZONE["transportation"]] += 1 - zone_share.sum(axis=1)
    for number, name in enumerate(ZONES):
        table[f"share_{name}"] = zone_share[:, number]
    built_share = zone_share[:, [ZONE[name] for name in BUILT]].sum(axis=1)
    table["built"] = built_share >= BUILT_REGION_SHARE
    weight = np.maximum(built_share, 1e-12)
    for name in LATENTS:
        mean = share @ np.where(uses.built, getattr(uses, name), 0.0) / weight
        table[name] = np.where(built_share > 0, mean, np.nan)
    slots = _count(area, built.roofs.corners.mean(axis=1)[built.slots.building])
    plants = _count(
        area, built.roofs.corners.mean(axis=1)[built.slots.building[built.slots.plant]]
    )
    table["plant_share"] = np.where(slots > 0, plants / np.maximum(slots, 1), np.nan)
    table["places"] = _count(area, places.points)
    for name, raster in rasters.items():
        table[name] = overlay.label_to_regions(raster)
    return gpd.GeoDataFrame(table, geometry=_squares(area, row, column), crs=area.crs)


def _squares(area: Area, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    west_m = area.west_m + column * area.region_size_m
    north_m = area.north_m - row * area.region_size_m
    return shapely.box(
        west_m, north_m - area.region_size_m, west_m + area.region_size_m, north_m
    )


def _count(area: Area, points: Points) -> np.ndarray:
    """Points in every region."""
    rows, columns = area.regions
    column = (points[:, 0] // area.region_size_m).astype(int)
    row = ((area.size_m[1] - points[:, 1]) // area.region_size_m).astype(int)
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    region = (row * columns + column)[inside]
    return np.bincount(region, minlength=rows * columns)


def summary(
    table: pd.DataFrame, rasters: dict[str, Float[np.ndarray, "h w"]]
) -> dict[str, Any]:
    """Ceilings, shares of variance, totals and what is visible where."""
    return {
        "visibility": VISIBILITY,
        "coefficients": {
            "log_gdp_by_prosperity": economy.BY_PROSPERITY,
            "log_gdp_by_specialisation": economy.BY_SPECIALISATION,
            "log_gdp_by_noise": economy.BY_NOISE,
            "log_gdp_by_log_floor_value": economy.FLOOR_EXPONENT,
            "log_population_by_noise": economy.POPULATION_BY_NOISE,
        },
        "log_scale": {label: log_scale(table[label]) for label in COLUMNS},
        "ceiling_r2_log": {label: ceilings(table, label) for label in COLUMNS},
        "log_gdp_variance_shares_built": variance_shares(table[table["built"]]),
        "region_count": len(table),
        "built_region_count": int(table["built"].sum()),
        "region_count_without_places": int((table["places"] == 0).sum()),
        "totals": {name: float(rasters[name].sum()) for name in COLUMNS},
    }


def log_scale(label: pd.Series) -> float:
    """Median of the positive values, in the label's unit."""
    return float(label[label > 0].median())


def ceilings(table: pd.DataFrame, label: str) -> dict[str, dict[str, float]]:
    """Highest R2 of a label, by scope of regions and by what is known.

    It is the R2 of a line from log(1 + known / s) to log(1 + label / s), with s the
    label's `log_scale` over all regions, as in the evaluation's `r2_log`.
    """
    scale = log_scale(table[label])
    scopes = {"all": table, "built": table[table["built"]]}
    return {
        scope: {
            known: np.corrcoef(np.log1p(rows[[label, column]].T / scale))[0, 1] ** 2
            for known, column in COLUMNS[label].items()
        }
        for scope, rows in scopes.items()
    }


def variance_shares(rows: pd.DataFrame) -> dict[str, float]:
    """How much of the variance of log GDP each cause explains.

    With log GDP fitted by least squares to the causes, a cause's share is its
    coefficient times its covariance with log GDP, over the variance of log GDP; the
    shares sum to the fit's R2.
    """
    causes = {
        "density_and_use": np.log(rows["gdp_image_plain"]),
        **{name: rows[name] for name in ("prosperity", "specialisation", "noise")},
    }
    log_gdp = np.log(rows["gdp"].to_numpy())
    design = np.stack([values - values.mean() for values in causes.values()], axis=1)
    centred = log_gdp - log_gdp.mean()
    slope = np.linalg.lstsq(design, centred, rcond=None)[0]
    shares = slope * (design.T @ centred) / (centred @ centred)
    return dict(zip(causes, shares.tolist(), strict=True))


def describe(area: Area, settings: ToyCitySettings) -> dict[str, Any]:
    """The settings a city was generated with, and its corner."""
    changed = settings.difficulties()
    difficulties = {"difficulties": changed} if changed else {}
    style = {"style": settings.style()} if settings.style() else {}
    later = {"rebuilt_share": settings.rebuilt_share} if settings.rebuilt_share else {}
    facts = {"seed": settings.seed, **dataclasses.asdict(area)}
    return {**facts, **difficulties, **style, **later}
