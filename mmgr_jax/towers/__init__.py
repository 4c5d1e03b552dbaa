"""Computes the features of locked image encoders, which do not learn, only once."""
