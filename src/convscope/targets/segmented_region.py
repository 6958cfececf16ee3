"""The target `Region`: a part of a segmentation map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..arguments import checks_arguments
from ..checks import as_count, as_items, shown
from ..errors import TargetError
from .classes import OutputScores
from .clicks import connected
from .segmentations import scores_in_place, segmentation, where_seen


@dataclass(frozen=True, eq=False)
class Region:
    """The sum of a class's scores over a part of a segmentation map, for networks that return (N, K, h, w).

    For networks that return instances, as torchvision's Mask R-CNN does (dicts of labels, scores and masks), the
    score at a pixel is the largest score times mask value among the instances of the class. So the mask of one
    instance as ``mask`` explains that instance. `Region.at` makes a region of a click on a segmentation map.

    Args:
        target: class index or label; None, with a point, for the class that the network predicts there.
        mask: (h, w) of booleans at the size of the network's output, True for the pixels to sum; by default the
            pixels where the network predicts the class in the whole image. For a network with one class, these
            are the pixels with a positive score, or above 0.5 if the network ends in a sigmoid; for instances,
            those inside of their masks (above 0.5).
        point: (row, column) in pixels of the network's output. In place of a mask: of the pixels where the class
            is predicted, those connected with this one by their sides.
    """

    target: int | str | None
    mask: Any = None
    point: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.point is None:
            return
        if self.mask is not None:
            raise TargetError("a Region has a mask or a point, not both")
        place = as_items(self.point, "point", "(row, column)")
        if len(place) != 2:
            raise TargetError(f"point={shown(self.point)}: expected (row, column)")
        object.__setattr__(self, "point", tuple(as_count(number, "point", 0) for number in place))

    @classmethod
    @checks_arguments
    def at(cls, point: tuple[int, int], target: int | str | None = None) -> Region:
        """What was clicked: the connected region that the network predicts as one class, around a pixel.

        Args:
            point: (row, column) in pixels of the network's output, from the upper left.
            target: the class the pixel must have; by default the one that the network predicts there, which may
                differ between images.

        Example:
            >>> Region.at((120, 80), "cat").name
            'cat at row 120, column 80'
        """
        return cls(target, point=point)

    @property
    def name(self) -> str:
        what = "the class" if self.target is None else self.target
        if self.point is not None:
            return f"{what} at row {self.point[0]}, column {self.point[1]}"
        return f"{what}, where it is seen" if self.mask is None else f"{what} in a region"

    @checks_arguments
    def classes_at(self, output: Any, least: float = 0.0) -> torch.Tensor:
        """The class (N,) that is predicted at the point, for each image; ``least`` as in `bound`."""
        whole = segmentation(output)
        if self.point is None:
            raise TargetError(f"{self.name}: this Region has no point, so its class has to be given")
        row, column = self.point
        if row >= whole.shape[2] or column >= whole.shape[3]:
            raise TargetError(f"point={self.point}: the network's output has {tuple(whole.shape[2:])} pixels")
        there = whole[:, :, row, column]
        if whole.shape[1] == 1 and not (there > least).all():
            raise TargetError(f"point={self.point}: the network sees nothing there in an image")
        return there.argmax(dim=1)

    @checks_arguments
    def bound(self, output: Any, index: int | None, least: float = 0.0) -> OutputScores:
        """A function that sums scores over the pixels chosen from ``output``, that of the whole images.

        ``index``: the class; None for the one at the point. ``least``: the threshold of a network with one class.
        """
        classes = self.classes_at(output, least) if index is None else index
        if self.mask is None:
            masks = where_seen(output, classes, least)
            if self.point is not None:
                masks = connected(masks, self.point)
            if not masks.flatten(1).any(dim=1).all():
                missing = "the pixel is not" if self.point is not None else "an image has no pixel"
                raise TargetError(f"{self.name}: {missing} predicted as this class; give a mask")
        else:
            whole = scores_in_place(output, classes)
            given = self.mask if isinstance(self.mask, torch.Tensor) else np.array(self.mask)
            masks = torch.as_tensor(given, device=whole.device).bool()
            if masks.shape != whole.shape[1:]:
                raise TargetError(
                    f"a mask of shape {tuple(masks.shape)} for a segmentation map of {tuple(whole.shape[1:])}"
                )
            if not masks.any():
                raise TargetError(f"{self.name}: the mask has no pixel")
            masks = masks.expand(len(whole), -1, -1)

        def sums(output: Any) -> torch.Tensor:
            return torch.where(masks, scores_in_place(output, classes), 0).sum(dim=(1, 2))  # others may be -inf

        return sums
