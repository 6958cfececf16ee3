"""Synthesis: the picture that a class, a layer, a channel or a unit likes best."""

from .visualize import visualize

__all__ = ["visualize"]
