"""Units: what channels and directions of a layer respond to, in images of your own."""

from .atlas import atlas
from .concept_vectors import concept_derivatives, concept_scores, concept_vector
from .concepts import concepts
from .dictionaries import with_dictionary
from .feeds import feeds
from .necessity import necessity
from .scan import scan
from .unit import unit
from .unit_patches import unit_patches

__all__ = [
    "atlas",
    "concept_derivatives",
    "concept_scores",
    "concept_vector",
    "concepts",
    "feeds",
    "necessity",
    "scan",
    "unit",
    "unit_patches",
    "with_dictionary",
]
