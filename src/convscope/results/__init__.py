"""Results: what every method returns, how it is saved and read back."""

from .base import Array, Provenance, Result
from .kinds import (
    Attribution,
    Clusters,
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
    "Clusters",
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
