"""Evaluation: how far to trust what the other methods show."""

from .dataset import attribute_dataset
from .evaluate import evaluate
from .measures import MEASURES, Measure
from .retrieval import evaluate_retrieval

__all__ = ["MEASURES", "Measure", "attribute_dataset", "evaluate", "evaluate_retrieval"]
