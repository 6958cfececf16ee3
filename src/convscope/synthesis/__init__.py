"""Synthesis: the picture to which a class, a layer, a channel or a unit responds most."""

from .visualize import visualize

__all__ = ["visualize"]
