"""Writes Python code that loads what was saved; the tests run this code."""

from __future__ import annotations

from typing import Literal

from mmgr_jax.store.exported import About


def of_saved(about: About, reads: Literal["names", "places", "graph"]) -> str:
    """Writes code that loads the encoder of a folder and shows its uses.

    Args:
        about: The encoder.
        reads: What the POI encoder reads in addition to the categories of POIs.
    """
    size_px, names = about.tile_size_px, list(about.categories[:2])
    lines = [
        "import mmgr_jax",
        "import numpy as np",
        "",
        'encoder = mmgr_jax.load(".")  # the folder that holds this file',
        f"tiles = np.zeros((2, {size_px}, {size_px}, 3), np.uint8)  # yours",
        "of_tiles = encoder.embed_tiles(tiles)  # float32 [n f]",
    ]
    if reads == "names":
        lines.append(
            f"of_pois = encoder.embed_pois([{names!r}, []])  # a list a region"
        )
    if reads == "places":
        zeros = [0.0] * len(names)
        lines += [
            "",
            "import pandas as pd",
            "",
            f"table = dict(category={names!r}, east_m={zeros!r}, north_m={zeros!r})",
            "of_pois = encoder.embed_pois([pd.DataFrame(table)])  # a table a region",
        ]
    return "\n".join(lines)


def of_file(name: str) -> str:
    """Writes code that reads the arrays in a file of PyTorch weights.

    Args:
        name: Name of the file, which lies beside the card.
    """
    if name.endswith(".safetensors"):
        return f"""from safetensors import safe_open

with safe_open({name!r}, "np") as file:
    about = file.metadata()  # architecture, input_px, mean and deviation
    arrays = {{key: file.get_tensor(key) for key in file.keys()}}"""
    return f"""import torch

arrays = torch.load({name!r}, weights_only=True)"""
