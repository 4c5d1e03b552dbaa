"""Names on the command line the devices for which a step can be compiled."""

HERE = "here"
"""Name for the devices of this machine."""

TPU_SLICES = ("v4:2x2x1", "v5e:2x4", "v5e:16x16", "v5p:4x4x4", "v6e:16x16")
"""Examples of TPU slices: a generation, and the shape of a slice."""
