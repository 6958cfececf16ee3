"""What convscope raises: every error says what was given, what was expected, and what to do next."""

from __future__ import annotations

from typing import Any


class ConvscopeError(Exception):
    """The base of all errors that convscope raises on purpose."""


class ImageError(ConvscopeError):
    """An image could not be read or does not fit the network; the message names the file."""


class UnavailableError(ImageError):
    """An image file could not be reached: no permission, no memory, a failing disk. Another try may succeed."""


class NotPicturesError(ImageError):
    """A method for pictures was given signals or volumes."""


class ModelError(ConvscopeError):
    """A network could not be loaded, wrapped or run."""


class LayerError(ConvscopeError):
    """A layer name is unknown, or the layer does not have what was asked of it."""


class TargetError(ConvscopeError):
    """A target names no score of this network."""


class ParameterError(ConvscopeError):
    """An argument is of the wrong kind or outside its range."""


class OutputError(ConvscopeError):
    """A result could not be written or read back."""


class StoreError(ConvscopeError):
    """A store of embeddings does not exist, was made by another network, or cannot be written."""


class NotEmbeddedError(ParameterError):
    """An image is not among the embedded ones, and no network is at hand to embed it."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during long work; ``result`` holds what was finished by then."""

    def __init__(self, result: Any) -> None:
        super().__init__("interrupted; the finished part is in .result")
        self.result = result
