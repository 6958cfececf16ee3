"""Embeddings on disk: one row an image, written whole or not at all, and read a block at a time."""

from .blocks import Block, Space, Taken
from .embedding_store import EmbeddingStore
from .exporting import Exported, export
from .lance import is_store
from .schema import Column, Origin, VectorType
from .stored_rows import StoredRows

__all__ = [
    "Block",
    "Column",
    "EmbeddingStore",
    "Exported",
    "Origin",
    "Space",
    "StoredRows",
    "Taken",
    "VectorType",
    "export",
    "is_store",
]
