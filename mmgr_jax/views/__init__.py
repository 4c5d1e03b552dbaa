"""Tiles beside the views that training makes of them."""
