"""Embeddings: what a network thinks is alike; a store of them, their nearest neighbors, and a flat map."""

from .clusters import cluster
from .duplicates import duplicates
from .extract import Embeddings, embed
from .placing import place
from .projection import project
from .store import EmbeddingStore

__all__ = ["EmbeddingStore", "Embeddings", "cluster", "duplicates", "embed", "place", "project"]
