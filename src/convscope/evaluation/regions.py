"""Where the target is in each image: masks, or boxes turned into masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import as_array
from ..errors import ParameterError
from ..results import Array


def regions_of(regions: Any, n_images: int, size: tuple[int, int]) -> Array | None:
    """Masks (N, H, W), as given or from boxes (N, 4): left, top, right, bottom in pixels of the network's input.

    A pixel is in a box if its center is.
    """
    if regions is None:
        return None
    given: Array = as_array(regions, "regions", "masks (N, H, W) of booleans, or boxes (N, 4)")
    if given.shape == (n_images, *size) and given.dtype == np.bool_:
        masks = given
    elif given.shape == (n_images, 4) and np.issubdtype(given.dtype, np.number):
        rows, columns = np.arange(size[0])[None, :, None] + 0.5, np.arange(size[1])[None, None, :] + 0.5
        left, top, right, bottom = (side[:, None, None] for side in given.T)
        masks = (rows > top) & (rows < bottom) & (columns > left) & (columns < right)
    else:
        raise ParameterError(
            f"regions of shape {given.shape} and {given.dtype}; expected masks ({n_images}, {size[0]}, {size[1]}) "
            f"of booleans, or boxes ({n_images}, 4): left, top, right, bottom in pixels of the network's input"
        )
    if not masks.any(axis=(1, 2)).all():
        raise ParameterError("regions: one of them is empty")
    return masks
