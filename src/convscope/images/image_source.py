"""An image before it is opened: where it comes from, its name and its label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

Pixels: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Color: TypeAlias = tuple[int, int, int]
WHITE: Color = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class ImageSource:
    """An image that has not been opened: its name for messages, its label, and where it comes from.

    ``says_label``: a label of None means that the image has no label, like an empty cell in a table's column.
    """

    name: str
    content: Path | Image.Image | Pixels | Item
    label: str | None = None
    says_label: bool = False

    @property
    def tells_label(self) -> bool:
        """Whether the label was given for this very image rather than taken from a folder's name."""
        return self.says_label or not isinstance(self.content, Path)


@dataclass(frozen=True, eq=False)
class Item:
    """One item of a data set: an image, or an image with its label."""

    data_set: Any
    number: int

    def image(self) -> Image.Image | Pixels:
        """The image in a form that `open_image` takes; a tensor (C, H, W) becomes an array (H, W, C)."""
        item = self.data_set[self.number]
        image = item[0] if isinstance(item, tuple | list) else item
        if hasattr(image, "permute"):
            return np.asarray(image.permute(1, 2, 0).numpy())
        return image  # type: ignore[no-any-return]
