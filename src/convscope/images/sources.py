"""What an image is before it is opened: where it comes from, its name and its label."""

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
class Source:
    """One image that has not been opened yet: its name for messages, its label, and where it comes from.

    ``says_label``: whether a label of None means that it has none, as an empty cell of a table's column does.
    """

    name: str
    content: Path | Image.Image | Pixels | Item
    label: str | None = None
    says_label: bool = False

    @property
    def tells_label(self) -> bool:
        """Whether the label is told of this very image, rather than taken from the name of a folder."""
        return self.says_label or not isinstance(self.content, Path)


@dataclass(frozen=True, eq=False)
class Item:
    """One item of a data set: an image, or an image with its label."""

    data_set: Any
    number: int

    def image(self) -> Image.Image | Pixels:
        """What the data set holds, as `open_image` takes it; a tensor (C, H, W) becomes an array (H, W, C)."""
        item = self.data_set[self.number]
        image = item[0] if isinstance(item, tuple | list) else item
        if hasattr(image, "permute"):
            return np.asarray(image.permute(1, 2, 0).numpy())
        return image  # type: ignore[no-any-return]
