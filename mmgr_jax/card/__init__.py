"""The card of an encoder, which people read before they use it."""
