"""Results as one self-contained HTML file."""

from .write import report

__all__ = ["report"]
