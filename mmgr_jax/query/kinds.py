"""The parts of a region that a text can be compared with."""

KINDS = {"image": "image_projection", "poi": "poi_projection"}
"""Name on the command line -> the projection."""
