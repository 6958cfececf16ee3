"""Results: what every method returns, how it is saved and read back."""

from .base import Array, Provenance, Result
from .evidence import CHANGED, CONTROLS, SAME, Comparison, Evaluation, MaskStudy, SanityCheck, counted
from .kinds import (
    Attribution,
    ChannelOrder,
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
from .notes import Remark
from .probabilities import Normalization, probabilities

__all__ = [
    "CHANGED",
    "CONTROLS",
    "SAME",
    "Array",
    "Attribution",
    "ChannelOrder",
    "Clusters",
    "Comparison",
    "Duplicates",
    "Evaluation",
    "FeatureMaps",
    "Filters",
    "MaskStudy",
    "Neighbors",
    "Normalization",
    "Prediction",
    "Projection",
    "Provenance",
    "Ranked",
    "Remark",
    "Result",
    "Retrieval",
    "SanityCheck",
    "Visualization",
    "counted",
    "probabilities",
]
