"""Embeddings: what a network thinks is alike, and the questions to ask about it.

Each question is a function that takes `Embeddings` in memory or an `EmbeddingStore` alike.
"""

from .clusters import cluster
from .compare_stores import compare_stores
from .duplicates import duplicates
from .embed import embed
from .embeddings import Embeddings
from .index import index
from .neighbors import label_precision, neighbors
from .placing import place
from .projection import project
from .suspects import suspects

__all__ = [
    "Embeddings",
    "cluster",
    "compare_stores",
    "duplicates",
    "embed",
    "index",
    "label_precision",
    "neighbors",
    "place",
    "project",
    "suspects",
]
