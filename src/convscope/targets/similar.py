"""The target `SimilarTo`: the similarity to another image, or to a vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..arguments import checks_arguments
from ..checks import shown
from ..errors import ParameterError


class SimilarTo:
    """Why the network finds two images similar: the cosine similarity of their feature vectors.

    Args:
        image: the other image, in any form that methods take; or a vector (D,) of floats in its place, NumPy or
            torch: a row of `Embeddings`, or what the text tower of a CLIP-like network makes of a sentence.
        layer: whose output is compared. By default, with an image, the feature vector, which is the classifier's
            input; with a vector, the feature vector or the network's output, whichever has D numbers.

    Example:
        >>> SimilarTo(np.ones(512, np.float32)).name
        'similarity to a vector'
    """

    @checks_arguments
    def __init__(self, image: Any, layer: str | None = None) -> None:
        if image is None:
            raise ParameterError("SimilarTo: give the other image, or a vector")
        self.image, self.layer = image, layer
        self.vector = _vector(image)

    @property
    def name(self) -> str:
        if self.vector is not None:
            return "similarity to a vector"
        path = self.image if isinstance(self.image, str) else getattr(self.image, "name", None)
        return f"similarity to {path}" if isinstance(path, str) else "similarity to another image"


def _vector(given: Any) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """A vector (D,) as float64; None for anything with other dimensions, which is an image."""
    if not isinstance(given, np.ndarray | torch.Tensor) or given.ndim != 1:
        return None
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu()
        given = given.double() if given.is_floating_point() else given  # NumPy has no bfloat16
    array = np.asarray(given)
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all() or not array.any():
        raise ParameterError(f"SimilarTo: expected a vector of finite numbers, not all 0, not {shown(given)}")
    return array.astype(np.float64)
