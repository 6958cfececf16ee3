"""A network behind a function that calls it and one that chooses its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..execution.running import stands_for


class Adapted(nn.Module):
    """A network whose layers keep their names; ``choose(output)`` takes its scores."""

    def __init__(
        self,
        network: nn.Module,
        call: Callable[[nn.Module, torch.Tensor], Any] | None = None,
        choose: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.call, self.choose = network, call, choose
        stands_for(self, network)  # it has no flags and hooks of its own

    def forward(self, x: torch.Tensor) -> Any:
        output = self.network(x) if self.call is None else self.call(self.network, x)
        return output if self.choose is None else self.choose(output)

    def get_submodule(self, target: str) -> nn.Module:
        return self.network.get_submodule(target) if target else self

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        yield from self.network.named_modules(memo, prefix, remove_duplicate)


def adapted(module: nn.Module, output: str | Callable[[Any], Any] | None) -> nn.Module:
    """The network as methods take it; the original of a compiled module, since compiled code takes no hooks."""
    original: nn.Module = getattr(module, "_orig_mod", module)
    return original if output is None else Adapted(original, choose=chooser(output))


def chooser(output: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    """From what a network returns to its scores: by their name in it, or by a function."""
    if callable(output):
        return output

    def chosen(returned: Any) -> Any:
        if output not in returned:
            raise ModelError(f"output={output!r}: the network returns {', '.join(map(repr, returned))}")
        return returned[output]

    return chosen
