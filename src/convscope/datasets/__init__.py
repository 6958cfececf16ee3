"""Data sets: a method for every image of a store, with what it finds written into the rows."""

from .attribute_dataset import attribute_dataset

__all__ = ["attribute_dataset"]
