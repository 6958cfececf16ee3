"""Targets: whose score a method explains."""

from .classes import class_scores, find_class
from .compound import Contrast, Detection, Direction, Region, Several, SimilarTo, Towards, directed
from .resolving import (
    Score,
    Target,
    Targets,
    describe,
    is_of_classes,
    n_classes_of,
    note_on_scores,
    resolve,
    unit_of,
)

__all__ = [
    "Contrast",
    "Detection",
    "Direction",
    "Region",
    "Score",
    "Several",
    "SimilarTo",
    "Target",
    "Targets",
    "Towards",
    "class_scores",
    "describe",
    "directed",
    "find_class",
    "is_of_classes",
    "n_classes_of",
    "note_on_scores",
    "resolve",
    "unit_of",
]
