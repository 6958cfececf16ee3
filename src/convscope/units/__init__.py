"""Units: what channels and directions of a layer respond to, and what the network makes of them."""

from .concept_vectors import concept_derivatives, concept_scores, concept_vector
from .concepts import concepts

__all__ = ["concept_derivatives", "concept_scores", "concept_vector", "concepts"]
