"""The card of an encoder: what people read of it before they use it."""
