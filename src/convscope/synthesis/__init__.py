"""Synthesis: the picture to which a class, a layer, a channel or a unit responds most."""

from .objectives import Objective
from .presets import PRESETS, Recipe
from .visualize import visualize, visualize_each

__all__ = ["PRESETS", "Objective", "Recipe", "visualize", "visualize_each"]
