"""What a step can be compiled for, by the names of the command line."""

HERE = "here"
"""The devices at hand."""

TPU_SLICES = ("v4:2x2x1", "v5e:2x4", "v5e:16x16", "v5p:4x4x4", "v6e:16x16")
"""Examples: a generation, and the shape of a slice of it."""
