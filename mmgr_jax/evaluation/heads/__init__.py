"""Small models (heads) that learn on frozen features, many fitted together."""
