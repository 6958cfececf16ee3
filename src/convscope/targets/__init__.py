"""Targets: whose score a method explains."""

from .classes import find_class
from .compound import Contrast, Detection, Region, Several, SimilarTo
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
    "Region",
    "Score",
    "Several",
    "SimilarTo",
    "Target",
    "Targets",
    "describe",
    "find_class",
    "is_of_classes",
    "n_classes_of",
    "note_on_scores",
    "resolve",
    "unit_of",
]
