"""Defines the sections `optim` and `train`, and all settings of a training run."""

from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Annotated, Literal

from mmgr_jax import run_settings
from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.data.settings import CorpusSettings, DataSettings
from mmgr_jax.devices.settings import MeshSettings, ShardingSettings
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.models.settings import ModelSettings
from mmgr_jax.settings import FloatName, Section, read
from mmgr_jax.store.settings import InitSettings

if TYPE_CHECKING:
    import annotated_types as at
    from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class OptimSettings(Section):
    """The optimiser and its learning rate.

    Durations are strings: "120 epochs", "500 steps", "1e6 examples" or "10 percent".

    Attributes:
        name: "adam" (the paper), "adamw", "lars" (momentum 0.9, trust coefficient
            0.001, as SimCLR; for batches of thousands) or "sgd" (momentum 0.9).
        learning_rate: Largest learning rate of the schedule.
        schedule: How the rate changes. "constant". "step": it falls to a tenth at each
            time of `decay_at` and stays there (as the paper describes it).
            "step_slipping": it falls to a tenth for one epoch at each time of
            `decay_at`, then jumps back (as in the released program). "cosine": down to
            zero.
        warmup: Duration of a linear rise of the rate from zero, such as "10 epochs",
            "500 steps", "1e6 examples" or "10 percent".
        decay_at: Times at which the rate falls, as durations from the start; for "step"
            and "step_slipping".
        weight_decay: Weight decay, for "adamw" and "lars". Not applied to biases,
            scales, the temperature, category vectors, and the tokens and positions of a
            ViT; LARS does not adapt their rates either.
        batch_scaling: How the rate grows with the batch size. "none": not at all.
            "sqrt" (usual for Adam): `learning_rate` holds for batches of 256 regions,
            and grows with the square root of the batch size. "linear" (usual for LARS):
            the same, in proportion to the batch size.
    """

    name: Literal["adam", "adamw", "lars", "sgd"] = "adam"
    learning_rate: Annotated[float, at.Ge(0)] = 1e-2
    schedule: Literal["constant", "step", "step_slipping", "cosine"] = "step"
    warmup: str = "0 steps"
    decay_at: tuple[str, ...] = ("90 epochs", "110 epochs")
    weight_decay: Annotated[float, at.Ge(0)] = 0.0
    batch_scaling: Literal["none", "sqrt", "linear"] = "none"


@dataclasses.dataclass(frozen=True)
class TrainSettings(Section):
    """Length of a training run, and when it logs, saves and evaluates.

    Durations are strings, as in `OptimSettings`.

    Attributes:
        total: Length of the run, such as "120 epochs", "500 steps" or "1e6 examples".
        microbatch_size: Number of regions that are encoded at a time, over all devices
            together; None: the whole batch. Smaller numbers need less memory.
        gradient_dtype: Number type in which gradients are summed over devices;
            "bfloat16" halves the data that is sent. Parameters and optimiser are always
            float32.
        log_every: Duration between two lines of the log.
        save_every: Duration between two checkpoints.
        evaluate_every: Duration between two short evaluations by nearest neighbours, on
            validation folds; see docs/design.md. None: never.
        keep: Number of newest checkpoints that are kept.
    """

    total: str = "120 epochs"
    microbatch_size: int | None = None
    gradient_dtype: FloatName = "float32"
    log_every: str = "20 steps"
    save_every: str = "5 epochs"
    evaluate_every: str | None = "10 epochs"
    keep: Annotated[int, at.Ge(1)] = 2


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """The sections of a config that a training run reads, without its folders.

    Attributes:
        seed: Seed of initial parameters, order of regions and views.
        data: How records become batches.
        corpus: The cities, if there are several.
        augment: How views differ from tiles.
        model: The model.
        init: Weights to begin with.
        loss: The losses.
        optim: The optimiser.
        train: Length of the run, and when it logs, saves and evaluates.
        mesh: The devices.
        sharding: How the state is divided among the devices.
    """

    seed: int
    data: DataSettings
    corpus: CorpusSettings
    augment: AugmentSettings
    model: ModelSettings
    init: InitSettings
    loss: LossSettings
    optim: OptimSettings
    train: TrainSettings
    mesh: MeshSettings
    sharding: ShardingSettings

    @classmethod
    def of(cls, config: ConfigDict) -> TrainingSettings:
        """Reads and checks the sections of a config.

        Raises:
            InputError: If a value does not fit; the message names the first such key.
        """
        kinds = typing.get_type_hints(cls)
        del kinds["seed"]
        sections = {
            name: read(kind, config[name], name) for name, kind in kinds.items()
        }
        return cls(seed=run_settings.read(config).seed, **sections)
