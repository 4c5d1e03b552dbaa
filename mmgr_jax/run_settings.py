"""The settings at the top of a config, which concern the whole run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

from mmgr_jax import settings

if TYPE_CHECKING:
    import annotated_types as at
    from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class RunSettings(settings.Section):
    """Keys that belong to no section.

    Attributes:
        workdir: Folder of checkpoints, logs and results.
        seed: Decides the initial parameters, and the order of regions and views.
        checkpoint: Folder of a run or checkpoint that eval, embed and query load; None:
            the newest checkpoint in the workdir.
        after_training: What `mmgr_jax.main` runs at the end.
        compilation_cache: Folder that keeps compiled programs for the next run; "auto":
            below `~/.cache/mmgr_jax`; "off": none. See docs/input.md.
        records_cache: Folder that keeps copies of records on object storage; see
            docs/many_cities.md.
        cpu_devices: Number of parts of the CPU that share a batch. Small networks
            become faster with one part for each core. None: one part for training, two
            for commands that only compute features (eval, embed, query).
        profile: First and last step of a profile of the run, such as "10:20"; None: no
            profile. See docs/input.md.
    """

    workdir: str
    seed: int = 0
    checkpoint: str | None = None
    after_training: tuple[Literal["eval", "embed"], ...] = ("eval", "embed")
    compilation_cache: str = "auto"
    records_cache: str = "~/.cache/mmgr_jax/records"
    cpu_devices: Annotated[int, at.Ge(1)] | None = None
    profile: str | None = None

    @property
    def to_load(self) -> str:
        """The run or checkpoint folder to load."""
        return self.checkpoint or self.workdir


def read(config: ConfigDict) -> RunSettings:
    """The settings at the top of a config.

    Raises:
        InputError: If one is missing or does not fit.
    """
    names = [field.name for field in dataclasses.fields(RunSettings)]
    given = {name: config[name] for name in names if name in config}
    return settings.read(RunSettings, given, "")
