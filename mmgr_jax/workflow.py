"""The commands as functions, for notebooks and programs.

Each function does the same as one command. It raises `InputError` where the command
would end with an error message of one sentence. For runs of several processes, use the
commands. docs/python.md has examples, which the tests run.
"""

from __future__ import annotations

import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from mmgr_jax import addresses, config_files
from mmgr_jax.data import remote
from mmgr_jax.errors import InputError

if TYPE_CHECKING:
    from data_prep.first_config.command import FirstConfig
    from mmgr_jax.evaluation.trials.results import Report


def first_config(
    imagery: str | Path,
    pois: str | Path | None = None,
    labels: Sequence[str | Path] = (),
    *,
    name: str | None = None,
    out: str | Path | None = None,
) -> FirstConfig:
    """Writes the first config of a city from its files.

    Print the result: it lists what the files say, and the questions that are left.

    Args:
        imagery: A file, or a pattern such as "raw/sheets/*.tif".
        pois: A table of points of interest; None: train on images only.
        labels: Rasters or tables with a label.
        name: Name of the city; None: the name of the folder with the imagery.
        out: Path of the config; None: configs/NAME.py.

    Returns:
        The path of the config, what the files say, and the questions that are left.

    Raises:
        InputError: If the config exists already, or a file cannot be read.
    """
    from data_prep.first_config import command
    from mmgr_jax.devices import machine

    return command.first_config(
        str(imagery),
        None if pois is None else str(pois),
        [str(path) for path in labels],
        name=name,
        out=None if out is None else str(out),
        num_accelerators=machine.num_accelerators(),
    )


def read_config(
    file: str | Path, changes: Mapping[str, Any] = MappingProxyType({})
) -> ConfigDict:
    """Reads the configuration in a file, as the commands do.

    Args:
        file: FILE.py or FILE.py:variant, or the name of a shipped config.
        changes: Dotted key -> value, such as {"data.batch_size": 64}.

    Raises:
        InputError: If there is no such file, its `get_config` fails, a key is unknown,
            or a value has the wrong type.
    """
    config_files.make_importable()
    path, _, variant = config_files.resolved(str(file)).partition(":")
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file. Name a configuration, FILE.py.")
    try:
        config = runpy.run_path(path)["get_config"](*([variant] if variant else []))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}.") from error
    config.lock()
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        try:
            target = config
            for part in filter(None, section.split(".")):
                target = target[part]
            target[name] = value
        except (KeyError, AttributeError, TypeError) as error:
            reason = str(error).strip("\"'").splitlines()[0]
            raise InputError(f"config.{key}={value!r}: {reason}") from error
    return config


def build_records(config: ConfigDict, *, again: bool = False) -> Path:
    """Builds the records of a city, unless records that fit the config exist already.

    Args:
        config: The city's configuration.
        again: Build the records even if those that exist fit.

    Returns:
        The records folder.
    """
    from data_prep import build

    remote.begin(config)
    return build.build(config) if again else build.ensure(config)


def train_encoder(config: ConfigDict) -> Path:
    """Trains to the end; continues from the newest checkpoint if there is one.

    First it checks for what would fail or disappoint later, as the main command does.
    It checks the records of one city in a local folder only.

    Returns:
        The folder of the run.
    """
    from mmgr_jax import preflight
    from mmgr_jax.devices import compilation
    from mmgr_jax.evaluation.while_training import Evaluator
    from mmgr_jax.train import loop

    remote.begin(config)
    compilation.use_cache(config.compilation_cache)
    if not config.corpus.records and not addresses.is_address(config.records.dir):
        preflight.check(config)
    return loop.train(config, Evaluator(config))


def evaluate(config: ConfigDict) -> Report:
    """Evaluates a checkpoint, prints a table, and writes the report and the heads."""
    from mmgr_jax.devices import compilation
    from mmgr_jax.evaluation import run

    remote.begin(config)
    compilation.use_cache(config.compilation_cache)
    return run.evaluate(config)


def map_city(config: ConfigDict) -> Path:
    """Writes the embeddings and predictions of all regions, and maps of them.

    Returns:
        The folder of the maps.
    """
    from mmgr_jax.devices import compilation
    from mmgr_jax.evaluation import mapping

    remote.begin(config)
    compilation.use_cache(config.compilation_cache)
    return mapping.embed(config)
