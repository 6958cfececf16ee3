"""Evaluation: how far to trust what the other rooms show."""

from .compare import compare
from .evaluate import evaluate
from .mask_study import mask_study
from .measures import CURVES, MEASURES
from .retrieval import evaluate_retrieval
from .sanity import sanity_check

__all__ = [
    "CURVES",
    "MEASURES",
    "compare",
    "evaluate",
    "evaluate_retrieval",
    "mask_study",
    "sanity_check",
]
