"""Results: what every method returns, and how it is saved and read back."""

from .base import Array, Result
from .image_collections import Clusters, Duplicates, Neighbors, Projection, Retrieval
from .network_views import Attribution, ChannelOrder, FeatureMaps, Filters, Visualization
from .predictions import Normalization, Prediction, Ranked, probabilities
from .provenance import Provenance, Remark, plain_values, versions
from .summaries import LayerRow, Summary
from .training_strips import TrainingStrip
from .trust_checks import CHANGED, SAME, MaskStudy, SanityCheck, in_units
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
    "LayerRow",
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
    "Summary",
    "TrainingStrip",
    "Visualization",
    "in_units",
    "plain_values",
    "probabilities",
    "versions",
]
