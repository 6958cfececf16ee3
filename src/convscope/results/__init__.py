"""Results: what every method returns, how it is saved and read back."""

from .base import Array, Provenance, Result
from .kinds import (
    Attribution,
    Duplicates,
    FeatureMaps,
    Filters,
    Neighbors,
    Prediction,
    Projection,
    Ranked,
    Retrieval,
    Visualization,
)

__all__ = [
    "Array",
    "Attribution",
    "Duplicates",
    "FeatureMaps",
    "Filters",
    "Neighbors",
    "Prediction",
    "Projection",
    "Provenance",
    "Ranked",
    "Result",
    "Retrieval",
    "Visualization",
]
