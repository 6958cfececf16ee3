"""Inspection: what a network consists of, what it does with an input, and which methods fit it."""

from .summarizing import summarized

__all__ = ["summarized"]
