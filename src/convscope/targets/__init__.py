"""Targets: whose score a method explains."""

from .classes import find_class
from .compound import Contrast, Detection, Region, Several, SimilarTo, boxes_of
from .detector_forms import FORMS, class_scores, detector_of
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
    "FORMS",
    "Contrast",
    "Detection",
    "Region",
    "Score",
    "Several",
    "SimilarTo",
    "Target",
    "Targets",
    "boxes_of",
    "class_scores",
    "describe",
    "detector_of",
    "find_class",
    "is_of_classes",
    "n_classes_of",
    "note_on_scores",
    "resolve",
    "unit_of",
]
