"""Embeddings: what a network thinks is alike; a store of them, their nearest neighbors, and a flat map."""

from ..store import EmbeddingStore
from .clusters import cluster
from .duplicates import duplicates
from .embed import embed
from .embeddings import Embeddings
from .placing import place
from .projection import project

__all__ = ["EmbeddingStore", "Embeddings", "cluster", "duplicates", "embed", "place", "project"]
