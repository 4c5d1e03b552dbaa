"""Which layers of an image encoder learn: `config.model.image_encoder.train`."""

from __future__ import annotations

import dataclasses
import re

from mmgr_jax.errors import InputError
from mmgr_jax.typing import Tree

ENCODER = "image_encoder"
"""Where the encoder lies among the parameters of a model."""

FORMS = (
    '"all", "none" (locked), "last:K" (the last K stages of a ResNet or blocks of a '
    'ViT, such as "last:1") or "decay:F" (factor on the learning rate from a layer to '
    'the one below it, in (0, 1), such as "decay:0.75")'
)


@dataclasses.dataclass(frozen=True)
class Learning:
    """Which layers of an image encoder learn, and how fast beside all the rest.

    Attributes:
        last: How many of the last stages or blocks learn, and a norm behind them; None
            for everything, 0 for nothing.
        decay: Factor on the learning rate from one layer to the one below it; the
            projection head above the last one has the whole rate.
    """

    last: int | None = None
    decay: float = 1.0

    @classmethod
    def parse(cls, value: object) -> Learning:
        """What `config.model.image_encoder.train` says.

        Raises:
            InputError: If it is none of `FORMS`.
        """
        if value == "all":
            return cls()
        if value == "none":
            return cls(last=0)
        if match := re.fullmatch(r"last:([1-9]\d*)", str(value)):
            return cls(last=int(match[1]))
        match = re.fullmatch(r"decay:(0?\.\d+)", str(value))
        if match and float(match[1]) > 0:
            return cls(decay=float(match[1]))
        raise InputError(
            f"config.model.image_encoder.train={value!r} is unknown; allowed: {FORMS}."
        )

    @property
    def locked(self) -> bool:
        """Whether the encoder stays as it is."""
        return self.last == 0

    def factors(self, encoder: Tree) -> dict[str, float]:
        """Factor on the learning rate of each part of an encoder; 0 for what stays.

        Args:
            encoder: Parameters, or anything under their names.

        Raises:
            InputError: If there are fewer stages or blocks than should learn.
        """
        if self.last is not None:
            learning = self._last_parts(encoder)
            return {name: float(name in learning) for name in encoder}
        depth = depths(encoder)
        top = max(depth.values(), default=0) + 1
        return {name: self.decay ** (top - depth[name]) for name in encoder}

    def factors_of_all(self, params: Tree) -> Tree:
        """The same for the parameters of a model, one for each branch; 1 elsewhere."""
        return {
            name: self.factors(tree) if name == ENCODER else 1.0
            for name, tree in params.items()
        }

    def part(self, params: Tree) -> tuple[Tree, Tree]:
        """The parameters of a model that learn, and those that stay.

        Returns:
            Two trees; `joined` makes the whole of them again.
        """
        if self.last is None:
            return params, {}
        encoder = params.get(ENCODER, {})
        factor = self.factors(encoder)
        rest = {name: tree for name, tree in params.items() if name != ENCODER}
        learn = {name: encoder[name] for name in encoder if factor[name]}
        stay = {name: encoder[name] for name in encoder if not factor[name]}
        return joined(rest, {ENCODER: learn} if learn else {}), (
            {ENCODER: stay} if stay else {}
        )

    def _last_parts(self, encoder: Tree) -> set[str]:
        """Names of the stages or blocks that learn, and of the norm behind them."""
        assert self.last is not None
        stages = {name: _numbers(name)[0] for name in encoder if _is_block(name)}
        there = sorted(set(stages.values()))
        if encoder and self.last > len(there):
            raise InputError(
                f"config.model.image_encoder.train='last:{self.last}', but this "
                f"encoder has {len(there)} stages or blocks. Take at most "
                f'last:{len(there)}, or "all".'
            )
        if not self.last:
            return set()
        chosen = there[-self.last :]
        behind = {name for name in encoder if not _is_block(name) and _is_behind(name)}
        return {name for name, stage in stages.items() if stage in chosen} | behind


ALL = Learning()
"""Everything learns, all of it at one rate."""


def joined(params: Tree, others: Tree) -> Tree:
    """Parameters of two trees in one; the inverse of `Learning.part`."""
    both = {**params, **others}
    if ENCODER in params and ENCODER in others:
        both[ENCODER] = {**params[ENCODER], **others[ENCODER]}
    return both


def depths(encoder: Tree) -> dict[str, int]:
    """Layer of each part of an encoder, from 0.

    The blocks follow in the order of the numbers in their names; all before them shares
    0, and a norm after them is the last.
    """
    blocks = sorted(filter(_is_block, encoder), key=_numbers)
    layer_of = {name: place + 1 for place, name in enumerate(blocks)}
    last = len(blocks) + 1
    for name in encoder:
        if name not in layer_of:
            layer_of[name] = last if _is_behind(name) else 0
    return layer_of


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name))


def _is_block(name: str) -> bool:
    return bool(re.search(r"(layer|block)s?_?\d", name))


def _is_behind(name: str) -> bool:
    return bool(re.match(r"(norm|ln|head|encoder_norm)", name))
