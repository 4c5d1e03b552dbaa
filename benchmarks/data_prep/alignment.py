"""How often the alignment doctor finds the shifts that were made, and no others."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from benchmarks.data_prep import encoded_ground
from data_prep import settings as settings_lib
from data_prep.alignment import doctor, ground
from data_prep.imagery.mosaic import Imagery
from data_prep.pois import table

SHIFTS_M = (0.0, 30.0, 100.0, 450.0)
_NEAR_M = 15.0  # what is found is right to so many metres
_CHINESE = "EPSG:32651"  # the same metres, moved to where GCJ-02 has a meaning
_CHINESE_M = (350_000.0, 3_450_000.0)


def rows(
    config: ConfigDict, trials: int, num_pois: int, run: str = ""
) -> list[dict[str, Any]]:
    """A row each kind of shift.

    Args:
        config: A city whose imagery and POIs are there and fit.
        trials: Of each, with other POIs and in other directions.
        num_pois: Of a trial.
        run: Of an encoder that reads the imagery, too; "": statistics alone.

    Returns:
        `reads`, `planted`, `trials`, how many were `right`, called `shifted` wrongly or
        were left open (`cannot_tell`), and the medians of `stands_out`, `error_m` and
        `seconds`.
    """
    settings = settings_lib.read(config)
    crs, gsd_m = settings.city.crs, max(ground.GSD_M, settings.regions.gsd_m)
    pois = table.read(settings.pois, city_crs=crs)
    points = np.column_stack([pois.x_m, pois.y_m])
    with Imagery(settings.imagery, crs=crs, gsd_m=gsd_m) as imagery:
        grounds = {"statistics": ground.read(imagery, points, gsd_m)}
    if run:
        gsd_m = settings.regions.gsd_m
        with Imagery(settings.imagery, crs=crs, gsd_m=gsd_m) as imagery:
            grounds |= encoded_ground.read(imagery, run, gsd_m)
    moved = points - points.mean(axis=0) + _CHINESE_M
    official = doctor.datums(moved, _CHINESE, "wgs84")
    kinds: list[tuple[str, float | None]] = [(f"{m:g} m", m) for m in SHIFTS_M]
    kinds += [("GCJ-02", None), ("POIs anywhere", 0.0)]
    made = []
    for reads, seen in grounds.items():
        rng = np.random.default_rng(0)
        for name, size_m in kinds:
            results = []
            for _ in range(trials):
                size = min(num_pois, len(points))
                some = points[rng.choice(len(points), size, replace=False)]
                turn = rng.uniform(0, 2 * np.pi)
                shift = np.array([np.cos(turn), np.sin(turn)]) * (size_m or 0.0)
                if size_m is None:
                    shift = -official["gcj02"]
                if name == "POIs anywhere":
                    low, high = points.min(axis=0), points.max(axis=0)
                    some = rng.uniform(low, high, some.shape)
                start = time.perf_counter()
                measured = doctor.compare(seen, some + shift, official)
                results.append((measured, shift, time.perf_counter() - start))
            row = {"reads": reads, "planted": name, "trials": trials}
            made.append(row | _row(name, results))
    return made


def _row(
    name: str, results: list[tuple[doctor.Alignment, Any, float]]
) -> dict[str, Any]:
    right, open_, wrong, errors = 0, 0, 0, []
    for measured, shift, _ in results:
        if measured.shift_m is None:
            open_ += 1
            continue
        error = float(np.hypot(*(np.array(measured.shift_m) + shift)))
        errors.append(error)
        as_planted = measured.is_shifted == bool(np.any(shift)) and error <= _NEAR_M
        if name == "GCJ-02":
            as_planted &= measured.datum == "gcj02"
        else:
            as_planted &= measured.datum is None
        right += as_planted
        wrong += not as_planted
    stands_out = np.median([measured.stands_out for measured, *_ in results])
    return {
        "right": open_ if name == "POIs anywhere" else right,
        "wrong": len(errors) if name == "POIs anywhere" else wrong,
        "cannot_tell": open_,
        "stands_out": float(stands_out),
        "error_m": float(np.median(errors)) if errors else None,
        "seconds": float(np.median([seconds for *_, seconds in results])),
    }
