"""Results: what every method returns, and how it is saved and read back."""

from .base import Array, Result
from .image_collections import Clusters, Duplicates, Neighbors, Projection, Retrieval
from .network_views import Attribution, ChannelOrder, FeatureMaps, Filters, Visualization
from .predictions import Normalization, Prediction, probabilities
from .provenance import Provenance, Remark, versions
from .text_tables import counted
from .training_strips import TrainingStrip
from .trust_checks import CHANGED, SAME, MaskStudy, SanityCheck
from .trust_measures import CONTROLS, Comparison, Evaluation

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
    "Remark",
    "Result",
    "Retrieval",
    "SanityCheck",
    "TrainingStrip",
    "Visualization",
    "counted",
    "probabilities",
    "versions",
]
