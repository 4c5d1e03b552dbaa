"""Contrastive losses over the global batch: NT-Xent, and MMGR's sum of two of them."""
