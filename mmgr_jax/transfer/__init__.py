"""Encoders and heads of some cities, tested in another."""
