"""A network with the objectives of a batch of pictures, as an ascent runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import Any, TypeAlias

import torch

from ..execution import convolutions_of, fused, hooks, run_to
from ..execution.capture import watch
from ..execution.conv_chains import ConvChain
from ..models import Layer, Model, as_maps
from .objectives import Bound, Seen
from .shut_units import Opened

ALIKE = 1e-3  # of the score: how much float32 rounding in fused operations may change it
ALL = slice(None)
Modes: TypeAlias = Sequence[AbstractContextManager[Any]]  # in which a network runs, the outermost first


class Network:
    """A network as the ascent runs it: up to what the objectives read, and fused where that gives the same.

    After `fuse`, ``climbed`` are the modes for steps, and ``opened`` those in which units that are shut open.
    ``opens``: whether they open in every step.
    """

    def __init__(
        self,
        model: Model,
        layers: Mapping[str, Layer],
        objectives: Sequence[Bound],
        layout: torch.memory_format,
        *,
        reads_output: bool,
        opens: bool = False,
    ) -> None:
        self.model, self.objectives, self._layers = model, objectives, layers
        self._layout, self._reads_output, self._opens = layout, reads_output, opens
        self.climbed: Modes = ()
        self.opened: Modes = ()

    def values(self, x: torch.Tensor, modes: Modes = (), chosen: slice = ALL) -> torch.Tensor:
        """The value of each view (B, n_views) of the chosen pictures; by the network itself without modes."""
        objectives = self.objectives[chosen]
        n = len(x) // len(objectives)
        return self._read(x, [(o, slice(i * n, (i + 1) * n)) for i, o in enumerate(objectives)], modes)

    def fuse(self, x: torch.Tensor) -> torch.Tensor:
        """Fuse the network's operations for views like this one (1, C, H, W), if the values then stay the same.

        Returns its values by all objectives, (B,), as the network itself gives them.
        """
        asked = [(o, slice(0, 1)) for o in self.objectives]
        plain: list[torch.Tensor] = []
        activations = Opened()
        found = convolutions_of(
            self.model.module, lambda: plain.append(self._read(x, asked, [activations]).detach())
        )
        self.opened = [Opened(activations.n_calls)]
        self.climbed = self.opened if self._opens else ()
        if self.model.dtype == torch.float32:
            fusing = fused(_but_the_last(found) if self._opens else found, gradients=True)
            difference = (self._read(x, asked, [fusing]).detach() - plain[0]).abs()
            if (difference <= ALIKE * plain[0].abs().max()).all():
                self.climbed = [fusing, *self.climbed]
        return plain[0][:, 0]

    def _read(
        self,
        x: torch.Tensor,
        asked: Sequence[tuple[Bound, slice]],
        modes: Modes = (),
    ) -> torch.Tensor:
        """The values of objectives for some rows of x each."""
        # A copy, because the network's first operation may be in place.
        x = x.to(self.model.dtype, copy=True, memory_format=self._layout)
        with ExitStack() as stack:
            for mode in modes:
                stack.enter_context(mode)
            seen = seen_by(self.model, self._layers, x, reads_output=self._reads_output)
            return torch.stack([objective.value(seen, rows) for objective, rows in asked])


def _but_the_last(found: Sequence[ConvChain]) -> list[ConvChain]:
    """Chains of which the last activation stays on its own."""
    last = max((i for i, chain in enumerate(found) if chain.activation is not None), default=None)
    return [replace(chain, activation=None) if i == last else chain for i, chain in enumerate(found)]


def seen_by(model: Model, layers: Mapping[str, Layer], x: torch.Tensor, *, reads_output: bool) -> Seen:
    """What a network gives for views x, as far as it is needed: it stops at the deepest layer."""
    if not reads_output:
        found = run_to(model.module, x, [layer.name for layer in layers.values()])
        output = None
    else:
        found = {}
        with hooks() as attached:
            for one in layers.values():
                attached.append(watch(model.module, one.name, lambda name, t: found.update({name: t.clone()})))
            output = model.module(x)
    return Seen({asked: as_maps(found[one.name], one) for asked, one in layers.items()}, output, len(x))
