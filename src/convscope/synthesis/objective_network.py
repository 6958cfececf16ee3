"""A network with the objectives of a batch of pictures, as an ascent runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ..execution import convolutions_of, fused, hooks, run_to
from ..execution.capture import watch
from ..models import Layer, Model, as_maps
from .objectives import Bound, Seen

ALIKE = 1e-3  # of the score: how much float32 rounding in fused operations may change it
ALL = slice(None)


class Network:
    """A network as the ascent runs it: up to what the objectives read, and fused where that gives the same.

    ``fusing`` is the context in which it is fused, after `fuse`.
    """

    def __init__(
        self,
        model: Model,
        layers: Mapping[str, Layer],
        objectives: Sequence[Bound],
        layout: torch.memory_format,
        *,
        reads_output: bool,
    ) -> None:
        self.model, self.objectives, self._layers = model, objectives, layers
        self._layout, self._reads_output = layout, reads_output
        self.fusing: AbstractContextManager[Any] = nullcontext()

    def values(
        self, x: torch.Tensor, fusing: AbstractContextManager[Any] | None = None, chosen: slice = ALL
    ) -> torch.Tensor:
        """The value of each view (B, n_views) of the chosen pictures; by the network itself unless ``fusing`` is
        given."""
        objectives = self.objectives[chosen]
        n = len(x) // len(objectives)
        return self._read(x, [(o, slice(i * n, (i + 1) * n)) for i, o in enumerate(objectives)], fusing)

    def fuse(self, x: torch.Tensor) -> torch.Tensor:
        """Fuse the network's operations for views like this one (1, C, H, W), if the values then stay the same.

        Returns its values by all objectives, (B,), as the network itself gives them.
        """
        asked = [(o, slice(0, 1)) for o in self.objectives]
        if self.model.dtype != torch.float32:
            return self._read(x, asked)[:, 0].detach()
        plain: list[torch.Tensor] = []
        found = convolutions_of(self.model.module, lambda: plain.append(self._read(x, asked).detach()))
        fusing = fused(found, gradients=True)
        difference = (self._read(x, asked, fusing).detach() - plain[0]).abs()
        if (difference <= ALIKE * plain[0].abs().max()).all():
            self.fusing = fusing
        return plain[0][:, 0]

    def _read(
        self,
        x: torch.Tensor,
        asked: Sequence[tuple[Bound, slice]],
        fusing: AbstractContextManager[Any] | None = None,
    ) -> torch.Tensor:
        """The values of objectives for some rows of x each."""
        # A copy, because the network's first operation may be in place.
        x = x.to(self.model.dtype, copy=True, memory_format=self._layout)
        with fusing or nullcontext():
            seen = seen_by(self.model, self._layers, x, reads_output=self._reads_output)
            return torch.stack([objective.value(seen, rows) for objective, rows in asked])


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
