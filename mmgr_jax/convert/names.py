"""Under whose names the arrays of an image encoder are written."""

IMAGE_NAMES = ("torchvision", "released")
"""torchvision: timm's for a ViT."""
