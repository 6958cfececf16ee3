"""Evaluation: how far to trust what the other methods show."""

from .dataset import attribute_dataset
from .retrieval import evaluate_retrieval

__all__ = ["attribute_dataset", "evaluate_retrieval"]
