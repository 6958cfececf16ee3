"""The command line: thin. Every command calls one function of the library and shows its result."""

from .app import main

__all__ = ["main"]
