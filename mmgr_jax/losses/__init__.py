"""The contrastive losses over the global batch: NT-Xent and the loss of MMGR."""
