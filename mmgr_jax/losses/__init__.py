"""The contrastive losses over the global batch: NT-Xent and the MMGR pair of them."""

from mmgr_jax.losses.contrastive import (
    INTER_PAIRS,
    INTRA_PAIRS,
    mmgr_loss,
    nt_xent,
    unit_rows,
)

__all__ = ["INTER_PAIRS", "INTRA_PAIRS", "mmgr_loss", "nt_xent", "unit_rows"]
