"""Embeddings: what a network thinks is alike; their nearest neighbors, and a flat map of them."""

from .extract import Embeddings, embed
from .projection import project

__all__ = ["Embeddings", "embed", "project"]
