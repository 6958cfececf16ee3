"""Data sets: a method for every image of a store, or for those that look wrong."""

from .attribute_dataset import attribute_dataset
from .suspect_maps import suspect_maps

__all__ = ["attribute_dataset", "suspect_maps"]
