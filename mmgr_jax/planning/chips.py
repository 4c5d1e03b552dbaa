"""Lists memory, speed and bandwidth of accelerators, as their vendors state them."""

from __future__ import annotations

import dataclasses

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """The figures of one accelerator chip.

    Attributes:
        name: Usual name of the chip.
        memory_gib: Size of its memory (HBM), GiB.
        tflops: Peak rate of bfloat16 products, 1e12 per second. On a TPU, float32
            products also run at this rate, because its default precision rounds factors
            to bfloat16.
        memory_gb_per_s: Bandwidth of HBM, 1e9 bytes per second.
        link_gb_per_s: Bandwidth of all links to other chips together, in each
            direction, 1e9 bytes per second.
        source: Address of the page with the figures.
    """

    name: str
    memory_gib: float
    tflops: float
    memory_gb_per_s: float
    link_gb_per_s: float
    source: str

    @property
    def memory_bytes(self) -> int:
        """Size of HBM in bytes."""
        return round(self.memory_gib * GIB)


_CLOUD = "https://cloud.google.com/tpu/docs/"

# Keys are JAX's `device_kind`. The pages on TPUs add both directions of the links.
CHIPS = {
    "TPU v4": Chip("v4", 32.0, 275.0, 1228.0, 300.0, _CLOUD + "v4"),
    "TPU v5 lite": Chip("v5e", 16.0, 197.0, 819.0, 200.0, _CLOUD + "v5e"),
    "TPU v5": Chip("v5p", 95.0, 459.0, 2765.0, 600.0, _CLOUD + "v5p"),
    "TPU v6 lite": Chip("v6e", 32.0, 918.0, 1640.0, 400.0, _CLOUD + "v6e"),
    "NVIDIA H100 80GB HBM3": Chip(
        "H100",
        80.0,
        989.0,
        3350.0,
        450.0,
        "https://www.nvidia.com/en-us/data-center/h100/",
    ),
    "NVIDIA H200": Chip(
        "H200",
        141.0,
        989.0,
        4800.0,
        450.0,
        "https://www.nvidia.com/en-us/data-center/h200/",
    ),
}
CHIPS["TPU v5p"] = CHIPS["TPU v5"]
CHIPS["TPU v5e"] = CHIPS["TPU v5 lite"]
CHIPS["TPU v6e"] = CHIPS["TPU v6 lite"]


def chip_of(device_kind: str) -> Chip | None:
    """Returns the chip of a `device_kind`; None if it is not in the table."""
    return CHIPS.get(device_kind)
