"""Are sources and records fit? Checked before and after, and shown."""
