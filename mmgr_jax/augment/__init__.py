"""Makes views of uint8 tiles on the accelerator, by pure functions of tile and key."""
