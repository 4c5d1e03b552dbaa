"""`python -m mmgr_jax.ablation`: trains and compares the parts of the method."""

from __future__ import annotations

import functools
import logging
import operator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mmgr_jax import cli, compare, summary
from mmgr_jax import main as main_lib
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.terminal import visible

USAGE = """Trains a city's variants and compares them under one evaluation.

The variants are both losses together (MMGR), only the loss between views of an image
(lambda = 1), and only the loss between images and POIs (lambda = 0), for each seed.
They are compared with a random encoder, with imported weights if there are any, and
with the baselines. Variants that are already trained are not trained again.

  python -m mmgr_jax.ablation --config=configs/ablation.py:toy_city
  python -m mmgr_jax.ablation --config=configs/ablation.py:toy_city \\
      --config.ablation.seeds="(0,1,2)"
  python -m mmgr_jax.ablation --config=configs/ablation.py:shanghai \\
      --config.eval.imported=runs/imagenet

It writes to the workdir: seed0/eval/report.html and so on, and over_seeds.txt.
"""

log = logging.getLogger(__name__)


def run(config: ConfigDict) -> None:
    """Trains every variant with every seed, evaluates each seed, compares.

    Raises:
        InputError: If a variant names an unknown key, or the first is not "MMGR".
    """
    from mmgr_jax.devices import distributed  # libraries load once flags are fine
    from mmgr_jax.evaluation import feature_sets
    from mmgr_jax.evaluation import run as evaluation

    variants = list(config.ablation.variants)
    if not variants or variants[0][0] != feature_sets.MAIN:
        raise InputError(
            f"config.ablation.variants begins with {variants[:1]}; the first must be "
            f"({feature_sets.MAIN!r}, ()), what the others are compared with."
        )
    folders = []
    with summary.parts():
        for seed in config.ablation.seeds:
            folder = Path(config.workdir) / f"seed{seed}"
            folders.append(folder)
            trained = {}
            for name, changes in variants:
                log.info("variant %s, seed %d", name, seed)
                one = variant(config, changes, seed)
                one.workdir = str(folder / name.replace(" ", "_"))
                main_lib.main(one)
                trained[name] = one.workdir
            together = variant(config, variants[0][1], seed)
            together.workdir = str(folder)
            together.checkpoint = trained.pop(feature_sets.MAIN)
            together.eval.checkpoints = (
                *config.eval.checkpoints,
                *trained.items(),
            )
            distributed.by_first(evaluation.evaluate)(together)
    if distributed.is_first():
        _compare(Path(config.workdir), folders)


def variant(config: ConfigDict, changes: Any, seed: int) -> ConfigDict:
    """Makes the config of one variant, which trains and does not evaluate.

    Raises:
        InputError: If the variant names a key that does not exist.
    """
    one = config.copy_and_resolve_references()
    for key, value in changes:
        *sections, name = key.split(".")
        try:
            section = functools.reduce(operator.getitem, sections, one)
            section.lock()[name] = value
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            why = f" ({error})" if isinstance(error, InputError) else ""
            raise InputError(
                f"config.ablation.variants changes {key!r} to {value!r}, but the "
                f"config has no such key, or one of another type{why}. The keys: "
                "docs/settings.md."
            ) from error
    one.seed = seed
    one.after_training = ()
    return one


def _compare(workdir: Path, folders: list[Path]) -> None:
    """Writes mean and deviation over the seeds; the main ones come last."""
    reports = [report for folder in folders for report in compare.load(str(folder))]
    table = compare.table({"seeds": reports})
    path = workdir / "over_seeds.txt"
    files.write_text(path, visible(table, keep="\n") + "\n")
    pages = {
        f"page of {folder.name}": folder / "eval" / "report.html" for folder in folders
    }
    summary.end(compare.headlines(reports), {**pages, "all seeds as a table": path})


if __name__ == "__main__":
    cli.run(run, USAGE, shortcuts=("workdir",), session=cli.session)
