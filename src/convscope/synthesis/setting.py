"""A call of an ascent made ready: what is climbed, on which canvas, by which recipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional

from ..checks import InputShape, Pair, PresetName, as_pair, unfit
from ..errors import ParameterError
from ..execution import OUTPUT
from ..models import Model, Structure
from ..targets import is_of_classes, note_on_scores
from .closeness import Near, kept_near
from .objective_network import Network
from .objectives import Objective, as_objective, bound
from .parameterizations import Canvas, parameterization
from .photo_statistics import PhotoStatistics, built_in, measured
from .picture_sizes import enough_for
from .presets import Recipe, recipe_of

NOISE = 0.1  # standard deviation of a noise start in pixels, in normalized units
SMALL = 96  # pixels: a network with a smaller input may know things at one place and of one size only
SMALL_CROP = (0.85, 1.05)  # so that its views are of the whole picture
N_PHOTOS = 16  # read at once


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of a call; see `visualize`."""

    preset: PresetName | Recipe
    seed: int
    layer: str | None = None
    size_px: int | Pair | None = None
    n_steps: int | None = None
    l2: float | None = None
    start: Any = None
    n_frames: int = 0
    judge: Model | None = None
    photos: Any = None
    is_whole: bool = False  # whether the picture is the network's input itself, which no preprocessing crops
    near: Near | None = None
    opens: bool = False  # whether each step opens units that are shut, not only where nothing else has a gradient


class Setting:
    """A call made ready: what is climbed, on which canvas, by which recipe."""

    def __init__(self, model: Model, targets: Sequence[Any], asked: Asked) -> None:
        self.model, self.targets, self.asked = model, targets, asked
        recipe = recipe_of(asked.preset, asked.n_steps, {} if asked.l2 is None else {"l2": asked.l2})
        self.given = _given(model, asked)
        known = model.preprocessing
        is_input = known is None or recipe.domain == "pixels" or asked.is_whole
        self.sizes = None if known is None or is_input else (known.resize_px, known.input_size)
        channels, height, width = self._shape()
        self.seen: tuple[int, int, int] = (channels, *(self.sizes[1] if self.sizes else (height, width)))
        if isinstance(asked.preset, str) and recipe.domain != "pixels" and min(self.seen[1:]) < SMALL:
            recipe = replace(recipe, crop=SMALL_CROP, crop_end=None)
        self.recipe = recipe
        self.structure: Structure = model.checked(self.seen, gradients=True)
        objectives = [as_objective(target, asked.layer) for target in targets]
        is_free = self.sizes is not None and self.given is None and asked.size_px is None
        if is_free and (small := enough_for(model, self.structure, objectives, self.seen)):
            self.sizes, (height, width), self.seen = (small, small), small, (channels, *small)
        self.canvas = Canvas((channels, height, width), known, built_in(channels), model.device)
        if asked.photos is not None:
            self.canvas = replace(self.canvas, statistics=_measured(model, self.canvas, asked.photos, recipe))
        self.make = parameterization(recipe.domain, self.canvas, recipe.contrast)
        self.network, self.names = self._bound(objectives)

    def _shape(self) -> InputShape:
        """The shape of the picture that is asked for: of the image given, of ``size_px``, or what is usual."""
        if self.given is not None:
            channels, height, width = self.given.shape[1:]
            return channels, height, width
        size = None if self.asked.size_px is None else as_pair(self.asked.size_px, "size_px")
        if size is None and self.sizes is not None:
            size = self.sizes[0]
        model = self.model
        if size is None and (model.preprocessing or model.known_size or model.several) is None:
            raise ParameterError(
                "the input size of this network is not known: give `size_px`, the side of the picture in pixels, "
                "or the network's `input_size`"
            )
        return model.input_shape(size)

    def _bound(self, objectives: Sequence[Objective]) -> tuple[Network, list[str]]:
        """The network with the objectives of all targets."""
        names = dict.fromkeys(name for o in objectives for name in o.layers)
        reads_output = names.pop(OUTPUT, 0) is None
        layers = {name: self.structure.find(name) for name in names}
        output = None
        if reads_output:
            zero = torch.zeros(1, *self.seen, device=self.model.device, dtype=self.model.dtype)
            with torch.no_grad():
                output = self.model.module(zero)
        found = [bound(o, self.model, self.seen, layers, output) for o in objectives]
        layout = self.structure.memory_format
        network = Network(self.model, layers, found, layout, reads_output=reads_output, opens=self.asked.opens)
        return network, [one.name for one in found]

    def first(self, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """The free variables of the first pictures, each drawn by a generator of its own."""
        n, start = len(self.targets), self.asked.start
        if self.given is not None:
            free = self.make.inverse(self.given.expand(n, -1, -1, -1))
        elif start == "zero":
            zero = torch.zeros(n, *self.canvas.shape, dtype=torch.float32, device=self.model.device)
            free = self.make.inverse(zero)
        else:
            free = torch.cat([self.make.start(1, generator) for generator in generators])
            if start == "noise" and self.recipe.domain == "pixels":
                shape = free.shape[1:]
                drawn = [torch.randn(shape, generator=g, dtype=torch.float32, device="cpu") for g in generators]
                free = NOISE * torch.stack(drawn).to(free)
        kind = torch.promote_types(self.model.dtype, torch.float32)
        return free.to(kind if self.recipe.domain == "pixels" else torch.float32).contiguous().clone()

    def keep(self, first: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """What keeps the free variables near the first ones, if that was asked for."""
        return None if self.asked.near is None else kept_near(self.model, self.asked.near, self.make, first)

    def notes(self) -> list[str]:
        """What the reader of the result should know before anything has run."""
        found: list[str] = []
        if self.asked.layer is None and is_of_classes(self.targets[0]) and self.structure.ends_in:
            found.extend(note_on_scores(self.model.normalization(self.seen, 2)))
        if self.model.preprocessing is None and self.recipe.domain != "pixels":
            found.append("the network's preprocessing is not known: its input was taken to run from -2 to 2")
        if self.seen[0] not in (1, 3):
            found.append(f"the picture shows the mean of the {self.seen[0]} channels; `input` has each of them")
        return found


def _measured(model: Model, canvas: Canvas, photos: Any, recipe: Recipe) -> PhotoStatistics:
    """The statistics of the user's images, at the size of the canvas."""
    if recipe.domain == "pixels":
        raise ParameterError("photos: a picture of free pixels has no statistics; take another preset")
    inputs = model.inputs(photos)
    inputs.need_pictures("visualize")

    def batches() -> Iterator[torch.Tensor]:
        for batch in inputs.batches(N_PHOTOS):
            x = functional.interpolate(batch.x.float(), size=canvas.shape[1:], mode="bilinear", antialias=True)
            yield canvas.to_unit(x.to(canvas.device)).cpu()

    return measured(batches)


def _given(model: Model, asked: Asked) -> torch.Tensor | None:
    """The image (1, C, H, W) from which to start, if one is given."""
    start = asked.start
    if start is None or (isinstance(start, str) and start in ("zero", "noise")):
        return None
    if asked.size_px is not None:
        raise ParameterError("size_px: a picture that starts from an image has the size of that image")
    if isinstance(start, str) and not os.path.exists(start):
        raise unfit(start, "start", "'zero', 'noise', an image, or the path of one")
    return one_input(model, start, "start", "visualize")


def one_input(model: Model, image: Any, name: str, method: str) -> torch.Tensor:
    """One image as a network takes it, (1, C, H, W) in at least float32; named as an argument of a method."""
    inputs = model.inputs(image)
    inputs.need_pictures(method)
    if len(inputs) != 1:
        raise ParameterError(f"{name}: {len(inputs)} images; expected one")
    x: torch.Tensor = next(inputs.batches(1)).x
    return x.to(model.device, torch.promote_types(model.dtype, torch.float32))
