"""Results: what every method returns, how it is saved and read back."""

from .base import Array, Provenance, Result
from .kinds import (
    Attribution,
    FeatureMaps,
    Filters,
    Neighbors,
    Prediction,
    Projection,
    Ranked,
    Visualization,
)

__all__ = [
    "Array",
    "Attribution",
    "FeatureMaps",
    "Filters",
    "Neighbors",
    "Prediction",
    "Projection",
    "Provenance",
    "Ranked",
    "Result",
    "Visualization",
]
