"""Which regions are tested together, and how large blocks should be."""
