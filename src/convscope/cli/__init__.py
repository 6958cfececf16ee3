"""The command line: thin. Every command calls one function of the library and shows its result."""

from .app import app as main

__all__ = ["main"]
