"""Tests encoders and heads of some cities in another city."""
