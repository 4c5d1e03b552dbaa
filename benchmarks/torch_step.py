"""MMGR's training step in PyTorch, from the facts of the paper and the released code.

A peer to measure against, never a part of the program. Parameters are as many as ours
and the arithmetic is the same, so that the two differ in speed alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

TEMPERATURE, IMAGE_WEIGHT, LEARNING_RATE = 0.5, 0.5, 1e-2
PROJECTION = 128
POI_DIM, POI_HIDDEN, READINGS = 64, 256, 5
STAGES = (3, 4, 6, 3)


def released(encoder: str, batch: int, size: int, slots: int) -> Callable[[], None]:
    """The original's form: float32, channels first, eager, a pass for each view."""
    return _step(
        encoder, batch, size, slots, similarities=_by_broadcasting, fused=False
    )


def best(
    encoder: str, batch: int, size: int, slots: int, *, bfloat16: bool, compiled: bool
) -> Callable[[], None]:
    """What PyTorch does best: channels last, products, one pass over both views.

    On a GPU cuDNN chooses each convolution's way by trial, as XLA does.

    Args:
        encoder: One of `ENCODERS`.
        batch: Regions of a batch.
        size: Side of a view in pixels.
        slots: POIs of each region.
        bfloat16: Autocast to it; float32 else.
        compiled: By torch.compile.
    """
    torch.backends.cudnn.benchmark = True
    return _step(
        encoder,
        batch,
        size,
        slots,
        similarities=_by_product,
        channels_last=True,
        stacked=True,
        bfloat16=bfloat16,
        compiled=compiled,
    )


def _step(
    encoder: str,
    batch: int,
    size: int,
    slots: int,
    *,
    similarities: Callable[[torch.Tensor], torch.Tensor],
    channels_last: bool = False,
    stacked: bool = False,
    bfloat16: bool = False,
    compiled: bool = False,
    fused: bool = True,
) -> Callable[[], None]:
    """One step on random views and POIs; it returns when the device is done."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = Mmgr(ENCODERS[encoder](size), stacked).to(device)
    # torch's own types of `to` know no memory format.
    model = model.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    views = torch.randn(2 * batch, 3, size, size, device=device)
    views = views.contiguous(memory_format=layout)
    pois = torch.randn(batch, slots, POI_DIM, device=device)
    adam = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=fused)

    def loss() -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            z_image, z_poi = model(views, pois)
        one, two = z_image.float().chunk(2)
        inter = _nt_xent(one, z_poi.float(), similarities)
        intra = _nt_xent(one, two, similarities)
        return (1 - IMAGE_WEIGHT) * inter + IMAGE_WEIGHT * intra

    if compiled:
        loss = torch.compile(loss)

    def step() -> None:
        adam.zero_grad(set_to_none=True)
        loss().backward()
        adam.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


class Mmgr(nn.Module):
    """Views and POIs in, projections out."""

    def __init__(self, image_encoder: ResNet50 | ViT, stacked: bool) -> None:
        """Takes an encoder, and whether both views go through it in one pass."""
        super().__init__()
        self.stacked = stacked
        self.image_encoder = image_encoder
        self.image_head = _head(image_encoder.length, image_encoder.length)
        self.poi_encoder = Set2Set()
        self.poi_head = _head(2 * POI_DIM, POI_HIDDEN)

    def forward(
        self, views: torch.Tensor, pois: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Projections [2b p] of the views and [b p] of the POI sets."""
        parts = (views,) if self.stacked else views.chunk(2)
        features = torch.cat([self.image_encoder(part) for part in parts])
        return self.image_head(features), self.poi_head(self.poi_encoder(pois))


class ResNet50(nn.Module):
    """Version 1.5: the stride sits in the 3x3 convolution."""

    length = 2048

    def __init__(self) -> None:
        """Builds stem and stages."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        blocks, channels = [], 64
        for stage, count in enumerate(STAGES):
            for index in range(count):
                stride = 2 if stage and not index else 1
                blocks.append(Bottleneck(channels, 64 * 2**stage, stride))
                channels = 256 * 2**stage
        self.blocks = nn.Sequential(*blocks)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Pooled features [b 2048]."""
        return self.blocks(self.stem(image)).mean((2, 3))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        """Takes the channels that come in, the width inside and the stride."""
        super().__init__()
        self.residual = nn.Sequential(
            *_convolution(channels, width, 1, 1),
            nn.ReLU(inplace=True),
            *_convolution(width, width, 3, stride),
            nn.ReLU(inplace=True),
            *_convolution(width, 4 * width, 1, 1),
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or channels != 4 * width:
            self.shortcut = nn.Sequential(*_convolution(channels, 4 * width, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's output."""
        return functional.relu(self.residual(x) + self.shortcut(x), inplace=True)


class ViT(nn.Module):
    """ViT-B/16: pre-norm blocks on patches and a class token, which is the feature."""

    length = 768

    def __init__(self, size: int) -> None:
        """Takes the side of an image in pixels."""
        super().__init__()
        self.patches = nn.Conv2d(3, self.length, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, self.length))
        count = 1 + (size // 16) ** 2
        self.place = nn.Parameter(0.02 * torch.randn(1, count, self.length))
        block = nn.TransformerEncoderLayer(
            self.length, 12, 4 * self.length, 0.0, "gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.blocks = nn.TransformerEncoder(
            block, 12, nn.LayerNorm(self.length), enable_nested_tensor=False
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Class tokens [b 768]."""
        patches = self.patches(image).flatten(2).mT
        tokens = torch.cat([self.token.expand(len(patches), -1, -1), patches], 1)
        return self.blocks(tokens + self.place)[:, 0]


ENCODERS: dict[str, Callable[[int], ResNet50 | ViT]] = {
    "resnet50": lambda size: ResNet50(),
    "vit_base16": ViT,
}
"""Name of ours -> a peer of as many parameters, for images of a side in pixels."""


class Set2Set(nn.Module):
    """Five readings of a full set by attention, steered by an LSTM."""

    def __init__(self) -> None:
        """Builds the cell."""
        super().__init__()
        self.cell = nn.LSTMCell(2 * POI_DIM, POI_DIM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Vectors [b 128] of sets [b n 64]."""
        summary = x.new_zeros(len(x), 2 * POI_DIM)
        state = (x.new_zeros(len(x), POI_DIM), x.new_zeros(len(x), POI_DIM))
        for _ in range(READINGS):
            state = self.cell(summary, state)
            weight = torch.softmax((x @ state[0][:, :, None]).squeeze(2), 1)
            reading = (weight[:, None] @ x).squeeze(1)
            summary = torch.cat([state[0], reading], 1)
        return summary


def _convolution(inside: int, outside: int, size: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(inside, outside, size, stride, size // 2, bias=False)
    return [conv, nn.BatchNorm2d(outside)]


def _head(inside: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inside, hidden), nn.ReLU(), nn.Linear(hidden, PROJECTION)
    )


def _nt_xent(
    a: torch.Tensor,
    b: torch.Tensor,
    similarities: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    rows = torch.cat([a, b])
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    partner = torch.arange(len(rows), device=rows.device).roll(len(a))
    logits = similarities(rows) / TEMPERATURE
    return functional.cross_entropy(logits.masked_fill(itself, -torch.inf), partner)


def _by_broadcasting(rows: torch.Tensor) -> torch.Tensor:
    return functional.cosine_similarity(rows[:, None], rows[None], dim=-1)


def _by_product(rows: torch.Tensor) -> torch.Tensor:
    unit = functional.normalize(rows)
    return unit @ unit.T
