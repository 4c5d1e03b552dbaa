"""Settings that older configs, checkpoints or records may have, and why they went.

No code uses them. A config that sets one is refused with the sentence given here.
Records that were made with one count as those of a config without it.
"""

from __future__ import annotations

REMOVED = {
    "category_vectors.walks.per_poi": (
        "vectors are learnt from how often walks are expected to meet categories, so "
        "no number of walks is drawn"
    ),
    "category_vectors.skipgram": (
        "negatives, weight of the hierarchy and length of the training are those of "
        "data_prep/category_embedding/skipgram.py for every city"
    ),
    "released": (
        "it is config.released_sample now, of the one folder released_sample.dir, with "
        "what its number means in released_sample.population"
    ),
    "pois.categories.names": "a list stands in a file: pois.categories.path",
    "pois.categories.parents": "a list stands in a file: pois.categories.path",
    "optim.decay_factor": "the rate falls to a tenth at each of optim.decay_at",
    "eval.certainty.coverage_levels": "coverage is measured at 50, 80 and 90 %",
    "eval.finetune.layer_decay": "each layer learns at 0.7 of the one above it",
    "eval.finetune.patience": "five epochs without a better loss end the training",
    "embed.dpi": "maps have 150 dots an inch",
}
"""Dotted key of a setting, or of a section with all its settings -> why it went."""


def answer(key: str) -> str | None:
    """The sentence for a removed setting; None for any other key."""
    for removed, reason in REMOVED.items():
        if key == removed or key.startswith(f"{removed}."):
            return f"config.{removed} was removed: {reason}. Delete the setting."
    return None
