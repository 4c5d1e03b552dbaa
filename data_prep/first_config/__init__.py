"""Writes the first config of a city from what its files say."""
