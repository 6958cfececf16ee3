"""The part of a network behind a layer: scores of maps that stand in place of the layer's output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from ..checks import InputShape
from ..errors import ConvscopeError, LayerError
from ..execution import OUTPUT, in_batches, intercepted, place_of
from ..models import Layer, Model, from_maps
from ..perturbation import EXACT, ROUGH
from ..targets import Targets

Read: TypeAlias = Callable[[Any, int], torch.Tensor]
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

    @property
    def rows_along(self) -> int:
        """The dimension of the layer's own output along which the images lie."""
        return 1 if self._layer.held == "tokens first" else 0

    def scores(self, maps: torch.Tensor, like: torch.Tensor, targets: Targets) -> torch.Tensor:
        """The scores (M,) of maps (M, C, *sides), float64 on the CPU; ``like`` is the layer's output once."""
        found = torch.zeros(len(maps), dtype=torch.float64)

        def run(first: int, end: int) -> None:
            own = from_maps(maps[first:end], self._layer, like)
            found[first:end] = targets.of(self.outputs(own), end - first)[:, 0].double().cpu()

        for _ in in_batches(len(maps), self.at_once, run):
            pass
        return found

    def outputs(self, own: torch.Tensor, images: torch.Tensor | None = None) -> Any:
        """What the network returns for M rows of the layer's own output.

        Noise is in front of the layer or, where something flows past it, the ``images`` (M, C, H, W) of the rows.
        """
        if images is None:
            n_rows = own.shape[self.rows_along] if self._repeats else 1
            images = self._noise.expand(n_rows, *self._noise.shape[1:])
        with intercepted(self._model.module, self._layer.name, lambda _: own.clone()):
            return self._model.module(images.clone())

    def check(self, like: torch.Tensor, read: Read, scores: torch.Tensor) -> None:
        """`LayerError` unless a layer's output settles the scores of its image, whatever is in front.

        Args:
            like: the layer's output for one image.
            read: scores (M, T) from the network's output for M rows.
            scores: (T,) those of the image.
        """
        if self._is_checked:
            return
        n_rows = min(2, self.at_once)
        both = torch.cat([like] * n_rows, dim=self.rows_along)
        try:
            found = read(self.outputs(both), n_rows)
        except (RuntimeError, ConvscopeError):
            self._repeats = True
            found = read(self.outputs(both), n_rows)
        is_exact = self._model.dtype in (torch.float32, torch.float64)
        off = (found - scores).abs().max(dim=0).values
        elsewhere = read(self.outputs(torch.zeros_like(both)), n_rows)
        size = float(torch.cat([scores[None], elsewhere]).abs().max())
        if not float(off.max()) <= (EXACT if is_exact else ROUGH) * size:
            worst = int(off.argmax())
            raise LayerError(
                f"the output of layer {self._layer.name!r} alone does not settle the score: with noise in front "
                f"of it the score is {float(found[0, worst]):.4g} and not {float(scores[worst]):.4g}. Something "
                "flows past it, as around a residual block; name a layer that everything passes, such as the end "
                "of a block"
            )
        self._is_checked = True
