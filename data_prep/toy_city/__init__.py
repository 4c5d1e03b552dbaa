"""A generated city with known truth: imagery, places, labels and zones.

The latent fields behind it are visible in different places, so that each modality
matters (see `truth.VISIBILITY`): density is plain in the picture; prosperity is loud
among the places and quiet on the roofs; specialisation shows among the places alone;
noise shows nowhere and sets the ceiling.
"""
