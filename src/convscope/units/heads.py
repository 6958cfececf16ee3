"""The part of a network behind a layer: scores of maps that stand in place of the layer's output."""

from __future__ import annotations

import torch

from ..checks import InputShape
from ..errors import ConvscopeError, LayerError
from ..execution import OUTPUT, in_batches, intercepted, place_of
from ..models import Layer, Model, from_maps
from ..perturbation import EXACT, ROUGH
from ..targets import Targets

_AT_ONCE = 64  # maps; a head is short, and each batch runs what comes before it once


def layer_to_cut(model: Model, shape: InputShape, name: str | None) -> Layer:
    """The layer of this name, by default the last with places before pooling; `LayerError` if there is none."""
    structure = model.checked(shape)
    if name is None:
        if structure.last_spatial is None:
            raise LayerError(f"{model.name} has no layer with a spatial map; name a layer")
        return structure.last_spatial
    layer = structure.find(name)
    if place_of(layer.name).is_input or layer.name == OUTPUT:
        raise LayerError(
            f"layer={name!r} is no output of a module inside the network; name a module that puts it out"
        )
    return layer


class Head:
    """The network behind a layer, run with noise as its image, of which nothing arrives there.

    Everything in front of the layer still runs, for a single row if the network takes its number of rows from what
    comes out of the layer.
    """

    def __init__(self, model: Model, layer: Layer, shape: InputShape) -> None:
        self._model, self._layer = model, layer
        self._noise = model.preparation(shape)(model.checked(shape).example)
        self._is_checked, self._repeats = False, False
        self.at_once = model.fitting_batch(shape, at_most=_AT_ONCE)

    def scores(self, maps: torch.Tensor, like: torch.Tensor, targets: Targets) -> torch.Tensor:
        """The scores (M,) of maps (M, C, *sides), float64 on the CPU; ``like`` is the layer's output once."""
        found = torch.zeros(len(maps), dtype=torch.float64)

        def run(first: int, end: int) -> None:
            found[first:end] = self._run(maps[first:end], like, targets).double().cpu()

        for _ in in_batches(len(maps), self.at_once, run):
            pass
        return found

    def check(self, maps: torch.Tensor, like: torch.Tensor, targets: Targets, score: float) -> None:
        """`LayerError` unless maps (1, C, *sides) have the score of their image, whatever is in front."""
        if self._is_checked:
            return
        both = maps.expand(min(2, self.at_once), *maps.shape[1:])
        try:
            found = self._run(both, like, targets)
        except (RuntimeError, ConvscopeError):
            self._repeats = True
            found = self._run(both, like, targets)
        is_exact = self._model.dtype in (torch.float32, torch.float64)
        off = float((found.double().cpu() - score).abs().max())
        elsewhere = float(self._run(torch.zeros_like(both), like, targets).abs().max())
        if not off <= (EXACT if is_exact else ROUGH) * max(abs(score), elsewhere):
            raise LayerError(
                f"the output of layer {self._layer.name!r} alone does not settle the score: with noise in front "
                f"of it the score is {float(found[0]):.4g} and not {score:.4g}. Something flows past it, as "
                "around a residual block; name a layer that everything passes, such as the end of a block"
            )
        self._is_checked = True

    def _run(self, maps: torch.Tensor, like: torch.Tensor, targets: Targets) -> torch.Tensor:
        """The scores (M,) of one batch."""
        noise = self._noise.expand(len(maps), *self._noise.shape[1:]) if self._repeats else self._noise
        own = from_maps(maps, self._layer, like)
        with intercepted(self._model.module, self._layer.name, lambda _: own.clone()):
            return targets.of(self._model.module(noise.clone()), len(maps))[:, 0]
