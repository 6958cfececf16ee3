"""Embeddings on disk: one row an image, written whole or not at all, and read a block at a time."""

from .blocks import Block, Space, Taken
from .embedding_store import EmbeddingStore
from .lance import is_store
from .schema import Column, Origin, VectorType

__all__ = ["Block", "Column", "EmbeddingStore", "Origin", "Space", "Taken", "VectorType", "is_store"]
