"""Where the target is in each image: masks, or boxes turned into masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import Sides, as_array
from ..errors import ParameterError
from ..results import Array


def regions_of(regions: Any, n_images: int, size: Sides) -> Array | None:
    """Masks (N, H, W), as given or from boxes (N, 4): left, top, right, bottom in pixels of the network's input.

    A pixel is in a box if its center is. Signals and volumes have masks.
    """
    if regions is None:
        return None
    given: Array = as_array(regions, "regions", "masks (N, H, W) of booleans, or boxes (N, 4)")
    if given.shape == (n_images, *size) and given.dtype == np.bool_:
        masks = given
    elif given.shape == (n_images, 4) and len(size) == 2 and np.issubdtype(given.dtype, np.number):
        rows, columns = np.arange(size[0])[None, :, None] + 0.5, np.arange(size[1])[None, None, :] + 0.5
        left, top, right, bottom = (side[:, None, None] for side in given.T)
        masks = (rows > top) & (rows < bottom) & (columns > left) & (columns < right)
    else:
        boxes = f", or boxes ({n_images}, 4): left, top, right, bottom in pixels of the network's input"
        boxes = boxes if len(size) == 2 else ""
        raise ParameterError(
            f"regions of shape {given.shape} and {given.dtype}; expected masks {(n_images, *size)} of "
            f"booleans{boxes}"
        )
    if not masks.reshape(n_images, -1).any(axis=1).all():
        raise ParameterError("regions: one of them is empty")
    return masks
