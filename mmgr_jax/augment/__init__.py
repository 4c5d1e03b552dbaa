"""Views of uint8 tiles on the accelerator: pure functions of (tile, key)."""
