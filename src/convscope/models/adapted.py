"""A network behind a function that calls it and one that chooses its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from ..execution.running import stands_for


class Adapted(nn.Module):
    """A network run by ``call(network, x)``, whose output goes through ``choose``; layers keep their names."""

    def __init__(
        self,
        network: nn.Module,
        call: Callable[[nn.Module, torch.Tensor], Any] | None = None,
        choose: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__()
        self.network, self._call, self._choose = network, call, choose
        stands_for(self, network)  # it has no flags and hooks of its own

    def forward(self, x: torch.Tensor) -> Any:
        output = self.network(x) if self._call is None else self._call(self.network, x)
        return output if self._choose is None else self._choose(output)

    def get_submodule(self, target: str) -> nn.Module:
        """Layers keep the names that they have in the network."""
        return self.network.get_submodule(target) if target else self

    def named_modules(self, *args: Any, **options: Any) -> Iterator[tuple[str, nn.Module]]:
        """This module and those of the network, by the network's names."""
        yield "", self
        for name, module in self.network.named_modules(*args, **options):
            if module is not self.network:
                yield name, module
