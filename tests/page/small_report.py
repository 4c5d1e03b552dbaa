"""A report of two tasks by hand, with what is hard to draw: gaps, zeros, one class."""

NUMBERS = ("mae", "rmse", "r2", "spearman", "mape", "r2_log", "rmse_log", "mae_log")
SHARES = ("l1", "kl", "cosine", "chebyshev", "canberra")


def result(names, value, *, missing=()):
    """One method's numbers, all about `value`."""
    metrics = {name: None if name in missing else value for name in names}
    return {
        "metrics": metrics,
        "intervals": {
            name: [None, None] if of is None else [of - 0.1, of + 0.1]
            for name, of in metrics.items()
        },
        "spread": metrics,
        "folds": [metrics, metrics],
        "chosen": [1.0, 10.0],
        "moran": {"statistic": 0.25, "expected": -0.1, "p_value": 0.001},
    }


def task(label, names, headline, truth_like):
    """A task where "MMGR both" is best and "poi counts" is not told apart from it."""
    values = {"MMGR image": 0.4, "MMGR both": 0.6, "poi counts": 0.55, "mean": -0.1}
    if headline == "l1":
        values = {name: 1 - value for name, value in values.items()}
    methods = {
        name: result(names, value, missing=("spearman",) if name == "mean" else ())
        for name, value in values.items()
    }
    differences = [
        {
            "method": method,
            "reference": reference,
            "metrics": {
                name: [distance, distance - 0.1, distance + 0.1] for name in names
            },
            "better": dict.fromkeys(names, 0.5 + distance / 2),
        }
        for method, reference, distance in (
            ("MMGR image", "poi counts", -0.15),
            ("MMGR image", "mean", 0.5),
            ("MMGR both", "MMGR image", 0.2),
            ("MMGR both", "poi counts", 0.05),
            ("MMGR both", "mean", 0.7),
        )
    ]
    spread = {"mean": 0.3, "deviation": 0.05, "lowest": 0.2, "highest": 0.4, "count": 3}
    alone = {**spread, "deviation": None}
    limits = {headline: [0.15, 0.45]}
    points = [
        {"fraction": None, "num_labels": 5.0, "metrics": {headline: spread}},
        {"fraction": 0.1, "num_labels": 10.0, "metrics": {headline: spread}},
        {"fraction": 1.0, "num_labels": 100.0, "metrics": {headline: alone}},
    ]
    return {
        "label": label,
        "headline": headline,
        "heads": {"linear": "ridge", "knn": "mean of neighbours"},
        "num_regions": 4,
        "num_labelled": 3,
        "splits": {
            "block": {"linear": methods, "knn": methods},
            "random": {"linear": methods, "knn": methods},
        },
        "optimism_gap": {"linear": {m: dict.fromkeys(names, 0.01) for m in methods}},
        "differences": differences,
        "curves": {
            method: [{**point, "intervals": limits} for point in points]
            for method in ("MMGR both", "poi counts")
        },
        "curve_differences": [
            {**difference, "num_labels": point["num_labels"]}
            for difference in differences
            if (difference["method"], difference["reference"])
            == ("MMGR both", "poi counts")
            for point in points
        ],
        "coverage": {
            "MMGR image": [
                {"level": 0.9, "by_region": 0.88, "by_block": 0.91},
                {"level": 0.99, "by_region": None, "by_block": None},
            ]
        },
        "classes": {
            method: {"mae": [0.1, 0.2]} for method in methods if label["classes"]
        },
        "truth": truth_like,
    }


def first_version():
    """The report as version 1 of the layout had it."""
    old = report()
    old["schema"] = 1
    for task in old["tasks"].values():
        del task["curve_differences"]
        for difference in task["differences"]:
            del difference["better"]
        for method, points in task["curves"].items():
            task["curves"][method] = points[1:]
            for point in points:
                del point["intervals"]
    return old


def report():
    """The whole report."""
    population = {
        "kind": "count", "unit": "persons <b>", "classes": [], "year": 2020,
        "source": "somebody & others", "licence": "", "rule": "",
    }  # fmt: skip
    function = {**population, "kind": "share", "unit": "1", "classes": ["a", "b_c"]}
    tasks = {
        "population": task(population, NUMBERS, "r2_log", [5.0, 0.0, None, 800.0]),
        "function": task(
            function, SHARES, "l1", [[1.0, 0.0], [0.5, 0.5], [None, None], [0.2, 0.8]]
        ),
    }
    said = {
        "population": [4.0, 0.5, 30.0, 1000.0],
        "function": [[0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [0.2, 0.8]],
    }
    return {
        "schema": 2,
        "created": "2026-01-02T03:04:05+00:00",
        "versions": {"mmgr-jax": "1", "python": "3.11"},
        "checkpoint": "runs/x/checkpoints/4",
        "training_seed": 0,
        "config": {"seed": 0, "note": "</pre><script>alert(1)</script>"},
        "settings": {"splits": ["block", "random"]},
        "data": {
            "city": "small", "crs": "EPSG:32651", "num_regions": 4, "num_blocks": 3,
            "block_size_m": 128.0, "tile_size_m": 64.0, "tile_size_px": 32,
            "empty_share": 0.25, "hashes": {"manifest.json": "0af"}, "sources": {},
        },
        "methods": {
            "MMGR image": {"about": "image features", "num_features": 96},
            "mean": {"about": "the mean", "num_features": None},
        },
        "num_folds": {"block": 2, "random": 2},
        "seed": 0,
        "tasks": tasks,
        "regions": {
            "region_id": ["a", "b", "c", "d"],
            "x_m": [0.0, 64.0, 0.0, 64.0],
            "y_m": [0.0, 0.0, 64.0, 64.0],
            "block": [0, 0, 1, 2],
            "side_m": 64.0,
            "drawn_of": 40,
            "tasks": {
                name: {
                    "truth": of.pop("truth"),
                    "predictions": {"MMGR both": said[name]},
                }
                for name, of in tasks.items()
            },
        },
        "health": {"MMGR": {"effective_rank": 12.5, "uniformity": -2.0}},
        "retrieval": {
            "MMGR: image to poi": {
                "recall": {"1": 0.5, "5": 1.0}, "median_rank": 1.5, "num_regions": 3,
            }
        },
        "cities": None,
    }  # fmt: skip
