"""Targets: whose score a method explains."""

from .box import Detection
from .classes import class_scores, find_class
from .compound import Contrast, Several, boxes_of
from .detector_forms import FORMS, detector_of, forms_of
from .regression import Direction, Towards, default_of_values, directed
from .resolved import Score, Targets, n_classes_of, note_on_scores, note_on_single_score, unit_of
from .resolving import Target, describe, is_of_classes, resolve
from .segmentations import is_of_instances
from .segmented_region import Region
from .similar import SimilarTo

__all__ = [
    "FORMS",
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
    "boxes_of",
    "class_scores",
    "default_of_values",
    "describe",
    "detector_of",
    "directed",
    "find_class",
    "forms_of",
    "is_of_classes",
    "is_of_instances",
    "n_classes_of",
    "note_on_scores",
    "note_on_single_score",
    "resolve",
    "unit_of",
]
