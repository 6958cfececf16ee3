"""What a look into a network returns: filters, feature maps, attributions, visualizations; all raw and signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

from ..arguments import checks_arguments
from ..checks import shown
from ..errors import LayerError, ParameterError
from .base import Array, Result

ChannelOrder: TypeAlias = Literal["mean", "max"]  # of its map: what makes a channel count as active


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Filters(Result):
    """The weights of one layer: ``values`` (O, I, kH, kW), raw; ``layer`` is the name of the convolution."""

    values: Array
    layer: str


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FeatureMaps(Result):
    """Activations for N images: ``values`` maps a layer's name to (N, C, H, W), or to (N, D) for a vector layer.

    ``images`` (N, H, W, 3) uint8 is what the network saw. Of signals a layer is (N, C, L), of volumes (N, C, D, H,
    W); these are arrays only, without a picture.
    """

    values: Mapping[str, Array]
    images: Array
    names: tuple[str, ...]

    @property
    def is_drawn(self) -> bool:
        """Whether these are the maps of pictures."""
        return self.images.ndim == 4

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers."""
        return tuple(self.values)

    @checks_arguments
    def __getitem__(self, layer: str) -> Array:
        if layer not in self.values:
            raise LayerError(f"there are no maps of layer {shown(layer)}, only of {', '.join(self.values)}")
        return self.values[layer]

    @checks_arguments
    def order(self, layer: str, n: int = 0, by: ChannelOrder = "mean") -> Array:
        """The channels of image n, most active first, by the "mean" or the "max" of each map.

        Equal maxima, which ReLU6 produces, are ordered by the mean; equal means by the channel's number.
        """
        if n >= len(self[layer]):
            raise ParameterError(f"n={n}: there are {len(self[layer])} images, counted from 0")
        maps = self[layer][n]
        flat = maps.reshape(len(maps), -1)
        mean = flat.mean(axis=1)
        return np.lexsort((-mean, -flat.max(axis=1))) if by == "max" else np.argsort(-mean, kind="stable")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Attribution(Result):
    """Relevance per pixel: ``values`` (N, H, W) float32, raw, at the network's input size.

    Of signals ``values`` is (N, L), and ``images`` (N, C, L) float32 the signals themselves; of volumes it is
    (N, D, H, W), and ``images`` (N, D, H, W, 3) uint8.

    ``targets`` says whose score is explained, one per image; ``scores`` (N,) are the target's scores for the whole
    images; ``images`` (N, H, W, 3) uint8 is what the network saw. ``signed`` tells whether the method can find
    negative values, which speak against the target; ``unit`` is the unit of a value. ``layers`` are the maps
    (N, H, W) that ``values`` combines, by name, where there are several. ``inputs`` are the maps of several inputs
    that were explained together, by name and each in the shape of its input, (N, *shape); ``values`` then shows
    the first image among them. ``given`` has what the network saw of each, as ``images`` has it, and of
    vectors the values; `of_input` gives the map of one as a result of its own.
    ``boxes`` has for each map the (left, top, right, bottom) of its `Detection`, in pixels, or None; it is empty
    where no target has a box. ``true_labels`` are the labels that the images came with, such as those of their
    class folders, or None; it is empty where no image has one.
    """

    values: Array
    targets: tuple[str, ...]
    scores: Array
    images: Array
    names: tuple[str, ...]
    unit: str = "score"
    signed: bool = True
    layers: Mapping[str, Array] = field(default_factory=dict)
    inputs: Mapping[str, Array] = field(default_factory=dict)
    given: Mapping[str, Array] = field(default_factory=dict)
    boxes: tuple[tuple[float, ...] | None, ...] = ()
    true_labels: tuple[str | None, ...] = ()

    @checks_arguments
    def of_input(self, name: str) -> Attribution:
        """The map of one of several ``inputs``: as if it had been the only one, with the scores of all.

        The channels of an image, a signal or a volume become one map: their sum, or where values have no sign the
        largest. Of a vector both ``values`` and ``images`` are (N, D).

        Raises:
            ParameterError: no input with this name was explained, or a result saved without what was given.
        """
        if name not in self.given:
            raise ParameterError(f"input {shown(name)}: expected one of {', '.join(self.given) or 'none'}")
        values, images = self.inputs[name], self.given[name]
        if values.ndim > 2:
            values = values.sum(axis=1) if self.signed else values.max(axis=1)
        else:
            values, images = (of.reshape(len(values), -1) for of in (values, images))
        return replace(self, values=values, images=images, layers={}, inputs={}, given={})

    @classmethod
    def _joined(cls, parts: Sequence[Attribution], seconds: float) -> Attribution:
        """The results of several calls, one for each image, as one."""
        first, notes = parts[0], [note for part in parts for note in part.provenance.notes]
        skipped = [name for part in parts for name in part.provenance.skipped]
        measured = dict(first.provenance.measured)
        for name in (name for name, value in measured.items() if isinstance(value, list)):
            measured[name] = [value for part in parts for value in part.provenance.measured[name]]
        targets = [part.provenance.parameters["target"] for part in parts]
        target = targets[0] if len(set(targets)) == 1 else tuple(targets)
        return replace(
            first,
            values=np.concatenate([part.values for part in parts]),
            layers={name: np.concatenate([part.layers[name] for part in parts]) for name in first.layers},
            inputs={name: np.concatenate([part.inputs[name] for part in parts]) for name in first.inputs},
            given={name: np.concatenate([part.given[name] for part in parts]) for name in first.given},
            targets=tuple(name for part in parts for name in part.targets),
            boxes=tuple(box for part in parts for box in part.boxes),
            scores=np.concatenate([part.scores for part in parts]),
            images=np.concatenate([part.images for part in parts]),
            names=tuple(f"image {i}" for i, part in enumerate(parts) for _ in part.names),
            true_labels=(),
            provenance=replace(
                first.provenance,
                parameters={**first.provenance.parameters, "target": target},
                measured=measured,
                notes=tuple(dict.fromkeys(notes)),
                skipped=tuple(skipped),
                seconds=seconds,
            ),
        )
