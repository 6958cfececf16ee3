"""Results: what every method returns, and how it is saved and read back."""

from .base import Array, Result
from .image_collections import Clusters, Duplicates, Neighbors, Projection, Retrieval
from .network_views import Attribution, ChannelOrder, FeatureMaps, Filters
from .predictions import Normalization, Prediction, probabilities
from .provenance import Provenance, Remark, plain_values, versions
from .summaries import LayerRow, Summary
from .training_strips import TrainingStrip
from .trust_checks import CHANGED, SAME, MaskStudy, SanityCheck
from .trust_measures import CONTROLS, Comparison, Evaluation
from .visualizations import Judgment, Visualization

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
    "Judgment",
    "LayerRow",
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
    "Summary",
    "TrainingStrip",
    "Visualization",
    "plain_values",
    "probabilities",
    "versions",
]
