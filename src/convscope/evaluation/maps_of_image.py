"""The maps of one image, and what their measures have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch

from ..attribution.scored import ScoredImage
from ..perturbation import Curves, curves, ranks
from ..results import Array, Attribution
from ..targets import Target

GivenMaps: TypeAlias = "Attribution | Array"  # a map of each image, as a method found them or from anywhere


@dataclass(frozen=True, eq=False)
class MapsOfImage:
    """What a measure looks at.

    ``maps`` holds R maps (H, W) of one image: one for each entry of ``given``, then the controls. ``given`` holds
    the maps of all images as they came in, where those of this image have the index ``number``. ``region`` (H, W)
    is True where the target is, if that is known. ``fills`` make the baselines of the curves, by name.
    """

    image: ScoredImage
    target: Target
    given: Sequence[GivenMaps]
    number: int
    maps: Sequence[Array]
    region: Array | None
    fills: Mapping[str, Callable[[torch.Tensor], torch.Tensor]]
    n_steps: int
    seed: int
    note: Callable[[str], None]

    @property
    def x(self) -> torch.Tensor:
        """The image, preprocessed, (C, H, W)."""
        return self.image.x

    @cached_property
    def orders(self) -> list[Array]:
        """The rank (H, W) of each pixel, of each map."""
        return [ranks(values, self.seed) for values in self.maps]

    @cached_property
    def curves(self) -> Curves:
        """The deletion and insertion curves of all maps over all baselines, in one pass."""
        behind = [fill(self.x) for fill in self.fills.values()]
        return curves(self.x, behind, self.orders, self.n_steps, self.image.score_variants)

    @cached_property
    def areas(self) -> dict[tuple[str, str], Array]:
        """The area (R,) under each map's curve, by kind ("deletion", "insertion") and baseline."""
        kinds = zip(("deletion", "insertion"), self.curves.areas(), strict=True)
        return {(kind, name): areas[:, b, 0] for kind, areas in kinds for b, name in enumerate(self.fills)}

    def with_controls(self, values: Sequence[float]) -> Array:
        """Values of the methods' maps, followed by NaN for the controls, (R,)."""
        return np.array([*values, *[np.nan] * (len(self.maps) - len(values))])
