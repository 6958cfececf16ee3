"""Results as one self-contained HTML file."""

from .write_report import report

__all__ = ["report"]
