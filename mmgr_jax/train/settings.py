"""The sections `optim` and `train` of a config, and all that a training run reads."""

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
        learning_rate: Peak rate.
        schedule: "constant"; "step", which falls to a tenth at each of `decay_at` for
            good (the paper as meant); "step_slipping", as released: a tenth for the
            one epoch that begins at each of `decay_at`, then the rate jumps back; or
            "cosine" down to zero.
        warmup: Linear rise from zero, as a duration.
        decay_at: Durations from the start, for both kinds of steps.
        weight_decay: For "adamw" and "lars", on weights of two or more dimensions:
            biases, scales, the temperature and `optim.NEVER_DECAYED` are left alone;
            LARS does not adapt their rates either.
        batch_scaling: How the rate depends on the batch. "none"; or `learning_rate` is
            meant for `optim.REFERENCE_BATCH` regions and grows with the square root of
            the batch ("sqrt", usual for Adam) or with the batch ("linear", usual for
            LARS).
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
    """Length of a training, and what is told and kept of it.

    Durations are strings, as in `OptimSettings`.

    Attributes:
        total: Length of the run.
        microbatch_size: Regions encoded at a time, over all devices; None: a batch.
        gradient_dtype: Type in which gradients are summed over devices; "bfloat16"
            halves the data that is sent. Parameters and optimiser are float32.
        log_every: Distance between two log lines, as a duration.
        save_every: Distance between two checkpoints.
        evaluate_every: Distance between two short evaluations by nearest neighbours, on
            validation folds; see `evaluation.while_training`. None: never.
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
    """What of a config a training run reads, but for its folders.

    Attributes:
        seed: Of initial parameters, order of regions and views.
        data: How records become batches.
        corpus: The cities, where there are several.
        augment: How views differ from tiles.
        model: The model.
        init: Weights to begin with.
        loss: The losses.
        optim: The optimiser.
        train: Length of the run, and what is kept of it.
        mesh: The devices.
        sharding: Where the state lies on them.
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
        """The sections of a config, each read and checked.

        Raises:
            InputError: With the first key that does not fit.
        """
        kinds = typing.get_type_hints(cls)
        del kinds["seed"]
        sections = {
            name: read(kind, config[name], name) for name, kind in kinds.items()
        }
        return cls(seed=run_settings.read(config).seed, **sections)
