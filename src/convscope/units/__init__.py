"""Units: what each channel of a network responds to in images of your own."""

from .scan import scan
from .unit_patches import unit_patches

__all__ = ["scan", "unit_patches"]
