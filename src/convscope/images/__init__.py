"""Find, open, orient and convert images: the one place that reads image files.

An opened image is a NumPy array (H, W, C): uint8 in 0..255, or float32 in [0, 1]. Files and PIL images
always open as uint8 (H, W, 3): upright by their EXIF orientation, transparent pixels on a given background,
samples of more than 8 bits scaled to 8, the first frame of an animation. Nothing here knows about networks.
"""

from .find_images import load_images
from .image_set import ImageSet
from .image_source import ImageSource, Item, Pixels
from .memory_limit import one_image
from .opening import open_image, upright_size

__all__ = [
    "ImageSet",
    "ImageSource",
    "Item",
    "Pixels",
    "load_images",
    "one_image",
    "open_image",
    "upright_size",
]
