"""Contrasts of two classes, several targets at once, and what all kinds of targets have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from ..errors import TargetError
from .box import Detection
from .regression import Direction, Towards
from .segmented_region import Region
from .similar import SimilarTo

Box: TypeAlias = tuple[float, ...]  # left, top, right, bottom, in pixels of the network's input


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
        *targets: class indices, labels, callables, `Contrast`, `Region`, `Detection` or `Towards`.

    Example:
        >>> Several("tabby", Contrast("tabby", "lynx")).name
        'tabby; tabby rather than lynx'
    """

    def __init__(self, *targets: Any) -> None:
        if not targets or not all(_is_one(target) for target in targets):
            raise TargetError(
                "Several: give one or more class indices, labels, callables, contrasts, regions, detections or "
                "Towards(value); each applies to all images"
            )
        self.targets = tuple(t.item() if getattr(t, "ndim", None) == 0 else t for t in targets)

    @property
    def name(self) -> str:
        return "; ".join(name_of(target) for target in self.targets)


# All that have a name of their own.
TargetObject: TypeAlias = Several | Contrast | Region | Detection | SimilarTo | Towards | Direction


def _is_one(target: Any) -> bool:
    """Whether it is a single target, which applies to every image."""
    is_index = isinstance(target, int | str) or getattr(target, "ndim", None) == 0
    return is_index or isinstance(target, Contrast | Region | Detection | Towards) or callable(target)


def boxes_of(target: Any, n: int) -> tuple[Box | None, ...]:
    """The boxes of n maps of a target, None for those of other targets; empty if no target has a box."""
    parts = target.targets if isinstance(target, Several) else (target,)
    each = tuple(tuple(part.box) if isinstance(part, Detection) else None for part in parts)
    return each * (n // len(each)) if any(each) else ()


def name_of(target: Any) -> str:
    """The name of a single target."""
    if isinstance(target, TargetObject):
        return target.name
    return str(getattr(target, "__name__", type(target).__name__)) if callable(target) else str(target)
