"""Targets beyond a single class: contrasts, regions, boxes, similarity to another image, several at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from ..arguments import checks_arguments
from ..checks import as_count, as_items, as_number, shown
from ..errors import ModelError, ParameterError, TargetError
from .clicks import connected

# From the network's output for M inputs (one per image, or variants of a single image) to scores (M,).
OutputScores: TypeAlias = Callable[[Any], torch.Tensor]


@dataclass(frozen=True)
class Contrast:
    """Why this class rather than that one: the difference S_target - S_against of two classes, by index or label.

    Example:
        >>> Contrast("tabby", "lynx").name
        'tabby rather than lynx'
    """

    target: int | str
    against: int | str

    @property
    def name(self) -> str:
        return f"{self.target} rather than {self.against}"


class Several:
    """Several targets for every image, with one forward pass for all of them.

    A result has a map for each target: those of the first image, then those of the second, ...

    Args:
        *targets: class indices, labels, callables, contrasts, regions or detections.

    Example:
        >>> Several("tabby", Contrast("tabby", "lynx")).name
        'tabby; tabby rather than lynx'
    """

    def __init__(self, *targets: Any) -> None:
        if not targets or not all(_is_one(target) for target in targets):
            raise TargetError(
                "Several: give one or more class indices, labels, callables, contrasts, regions or detections; "
                "each applies to all images"
            )
        self.targets = tuple(t.item() if getattr(t, "ndim", None) == 0 else t for t in targets)

    @property
    def name(self) -> str:
        return "; ".join(name_of(target) for target in self.targets)


def _is_one(target: Any) -> bool:
    """Whether it is a single target, which applies to every image."""
    is_index = isinstance(target, int | str) or getattr(target, "ndim", None) == 0
    return is_index or isinstance(target, Contrast | Region | Detection | Towards) or callable(target)


@dataclass(frozen=True)
class Towards:
    """How near a network's value is to another one, for regression: S = -|y - value|, in the unit of y.

    For networks that return one value, (N, 1) or (N,), or several, (N, K), of which ``column`` is meant. What
    brings y nearer to the value is positive. At y = value there is no gradient. The plain targets "up" and "down"
    are y and -y of a network with one value.

    Args:
        value: the one to approach, in the unit of the output.
        column: which of the network's values.

    Example:
        >>> Towards(3.2).name
        'towards 3.2'
    """

    value: float
    column: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", as_number(self.value, "value"))
        object.__setattr__(self, "column", as_count(self.column, "column"))

    @property
    def name(self) -> str:
        of = f" of value {self.column}" if self.column else ""
        return f"towards {self.value:g}{of}"

    @checks_arguments
    def score(self, values: torch.Tensor) -> torch.Tensor:
        """The scores (N,) of values (N, K)."""
        if self.column >= values.shape[1]:
            raise TargetError(f"{self.name}: the network returns {values.shape[1]} values, counted from 0")
        return -(values[:, self.column] - self.value).abs()


@dataclass(frozen=True)
class Direction:
    """What makes the one value of a network greater ("up") or less ("down"): S = y or -y."""

    name: str

    @checks_arguments
    def score(self, values: torch.Tensor) -> torch.Tensor:
        """The scores (N,) of values (N, 1)."""
        if values.shape[1] != 1:
            raise TargetError(
                f"target={self.name!r} is for networks with one value, and this one returns {values.shape[1]}: an "
                "index is up for that value; for down, give a function such as lambda y: -y[:, 0]"
            )
        return values[:, 0] if self.name == "up" else -values[:, 0]


def directed(target: Any, labels: Sequence[str] | None) -> Any:
    """The `Direction` that "up" and "down" stand for, where they are no labels; any other target as it is."""
    is_word = isinstance(target, str) and target in ("up", "down")
    return Direction(target) if is_word and target not in (labels or ()) else target


@dataclass(frozen=True, eq=False)
class Region:
    """The sum of a class's scores over a part of a segmentation map, for networks that return (N, K, h, w).

    `Region.at` makes one of a click.

    Args:
        target: class index or label; None, with a point, for the class that the network predicts there.
        mask: (h, w) of booleans at the size of the network's output, True for the pixels to sum; by default the
            pixels where the network predicts the class in the whole image. For a network with one class, these
            are the pixels with a positive score, or above 0.5 if the network ends in a sigmoid.
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
        whole = segmentation(output)
        if index is None:
            classes = self.classes_at(output, least)
        else:
            classes = torch.full((len(whole),), index, device=whole.device)
        if self.mask is None:
            masks = whole.argmax(dim=1) == classes[:, None, None] if whole.shape[1] > 1 else whole[:, 0] > least
            if self.point is not None:
                masks = connected(masks, self.point)
            if not masks.flatten(1).any(dim=1).all():
                missing = "the pixel is not" if self.point is not None else "an image has no pixel"
                raise TargetError(f"{self.name}: {missing} predicted as this class; give a mask")
        else:
            given = self.mask if isinstance(self.mask, torch.Tensor) else np.array(self.mask)
            masks = torch.as_tensor(given, device=whole.device).bool()
            if masks.shape != whole.shape[2:]:
                raise TargetError(
                    f"a mask of shape {tuple(masks.shape)} for a segmentation map of {tuple(whole.shape[2:])}"
                )
            if not masks.any():
                raise TargetError(f"{self.name}: the mask has no pixel")
            masks = masks.expand(len(whole), -1, -1)

        def sums(output: Any) -> torch.Tensor:
            maps = segmentation(output)
            of_class = maps[torch.arange(len(maps), device=maps.device), classes.expand(len(maps))]
            return torch.where(masks, of_class, 0).sum(dim=(1, 2))  # others may be -inf

        return sums


def segmentation(output: Any) -> torch.Tensor:
    """The map (N, K, h, w) of a segmentation network, which torchvision wraps in a dict."""
    if isinstance(output, dict) and "out" in output:
        output = output["out"]
    if not isinstance(output, torch.Tensor) or output.ndim != 4:
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise ModelError(f"the network returns {found}; a Region needs a segmentation map (N, K, h, w)")
    return output


@dataclass(frozen=True)
class Detection:
    """One box of a detector: the largest overlap times score among the detector's boxes of this class.

        S = max over boxes b of the class of IoU(box, b) * score(b)

    For networks that return a dict of "boxes" (x1, y1, x2, y2), "labels" and "scores" for each image, as in
    torchvision. 0 if no box of the class overlaps.

    Args:
        box: (left, top, right, bottom) in pixels of the network's input.
        target: class index in the detector's own numbering, or label.

    References:
        Petsiuk et al.: Black-box explanation of object detectors via saliency maps, 2021, arXiv 2006.03204.
    """

    box: Sequence[float]
    target: int | str

    def __post_init__(self) -> None:
        try:
            left, top, right, bottom = sides = tuple(float(side) for side in self.box)
        except (TypeError, ValueError):
            left = top = right = bottom = math.nan
        if not (left < right and top < bottom and all(map(math.isfinite, (left, top, right, bottom)))):
            raise TargetError(f"box={shown(self.box)}: expected (left, top, right, bottom) in pixels")
        object.__setattr__(self, "box", sides)

    @property
    def name(self) -> str:
        return f"{self.target} at {tuple(round(side) for side in self.box)}"

    @checks_arguments
    def bound(self, output: Any, index: int) -> OutputScores:
        """A function that computes the scores; `TargetError` if the box matches nothing in an image."""

        def best(output: Any) -> torch.Tensor:
            return torch.stack([self._best(found, index) for found in detections(output)])

        if not (best(output) > 0).all():
            raise TargetError(f"{self.name}: the detector finds no such box in an image")
        return best

    def _best(self, found: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        boxes, scores = found["boxes"], found["scores"]
        box = boxes.new_tensor(self.box)
        inner = (torch.minimum(boxes[:, 2:], box[2:]) - torch.maximum(boxes[:, :2], box[:2])).clamp_min(0)
        overlap = inner.prod(dim=1)
        union = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (box[2:] - box[:2]).prod() - overlap
        matched = overlap / union * scores * (found["labels"] == index)
        return matched.max() if len(matched) else scores.sum()


def detections(output: Any) -> list[dict[str, torch.Tensor]]:
    """The boxes of a detector, one dict per image."""
    if (
        isinstance(output, list)
        and output
        and all(isinstance(o, dict) and {"boxes", "labels", "scores"} <= o.keys() for o in output)
    ):
        return output
    raise ModelError(
        f"the network returns a {type(output).__name__}; a Detection needs a list of dicts: boxes, labels, scores"
    )


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


def name_of(target: Any) -> str:
    """The name of a single target."""
    if isinstance(target, Several | Contrast | Region | Detection | SimilarTo | Towards | Direction):
        return target.name
    return str(getattr(target, "__name__", type(target).__name__)) if callable(target) else str(target)
