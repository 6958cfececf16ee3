"""Results: what every method returns, and how it is saved and read back."""

from .base import Array, Result
from .collection_faults import Duplicates, Suspects
from .concept_results import ChannelRelevance, Concepts, ConceptVector, Factoring, Places
from .image_collections import Clusters, Neighbors, Projection, Retrieval
from .network_views import Attribution, ChannelOrder, FeatureMaps, Filters
from .predictions import Normalization, Prediction, Ranked, probabilities
from .provenance import Provenance, Remark, plain_values, versions
from .store_comparisons import ConfusionChange, StoreComparison
from .summaries import LayerRow, Summary
from .training_strips import TrainingStrip
from .trust_checks import CHANGED, SAME, MaskStudy, SanityCheck, in_units
from .trust_measures import CONTROLS, Comparison, Evaluation
from .unit_causes import ClassEffect, Feed, Feeds, Necessity
from .unit_pages import UnitPage, UnitPatches, unit_anchor
from .unit_scans import ChannelPair, ChannelScore, Patch, UnitScan, Which
from .visualizations import Atlas, Inversion, Judgment, Visualization

__all__ = [
    "CHANGED",
    "CONTROLS",
    "SAME",
    "Array",
    "Atlas",
    "Attribution",
    "ChannelOrder",
    "ChannelPair",
    "ChannelRelevance",
    "ChannelScore",
    "ClassEffect",
    "Clusters",
    "Comparison",
    "ConceptVector",
    "Concepts",
    "ConfusionChange",
    "Duplicates",
    "Evaluation",
    "Factoring",
    "FeatureMaps",
    "Feed",
    "Feeds",
    "Filters",
    "Inversion",
    "Judgment",
    "LayerRow",
    "MaskStudy",
    "Necessity",
    "Neighbors",
    "Normalization",
    "Patch",
    "Places",
    "Prediction",
    "Projection",
    "Provenance",
    "Ranked",
    "Remark",
    "Result",
    "Retrieval",
    "SanityCheck",
    "StoreComparison",
    "Summary",
    "Suspects",
    "TrainingStrip",
    "UnitPage",
    "UnitPatches",
    "UnitScan",
    "Visualization",
    "Which",
    "in_units",
    "plain_values",
    "probabilities",
    "unit_anchor",
    "versions",
]
