"""A generated city with known truth: imagery, places, labels and zones.

Its latent fields are visible in different places, so that each modality matters (see
`truth.VISIBILITY`). Density is clear in the picture. Prosperity shows strongly in the
places and weakly on the roofs. Specialisation shows only in the places. Noise shows
nowhere and sets the ceiling.
"""
