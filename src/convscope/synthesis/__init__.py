"""Synthesis: the picture to which a class, a layer, a channel or a unit responds most."""

from .accentuate import accentuate
from .deep_dream import deep_dream
from .invert import invert
from .objectives import Objective
from .presets import PRESETS, Recipe
from .visualize import visualize, visualize_each

__all__ = [
    "PRESETS",
    "Objective",
    "Recipe",
    "accentuate",
    "deep_dream",
    "invert",
    "visualize",
    "visualize_each",
]
