"""The contrastive losses over the global batch: NT-Xent and the MMGR pair of them."""
