"""A network behind a function that calls it and one that chooses its class scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..execution.running import stands_for


class Adapted(nn.Module):
    """A network whose output goes through ``choose``; its layers keep the names that they have in the network."""

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
        """Run the network, and choose among what it returns."""
        output = self.network(x) if self.call is None else self.call(self.network, x)
        return output if self.choose is None else self.choose(output)

    def get_submodule(self, target: str) -> nn.Module:
        """A layer by the name that it has in the network."""
        return self.network.get_submodule(target)

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """The layers by the names that they have in the network."""
        yield from self.network.named_modules(memo, prefix, remove_duplicate)


def chooser(output: str) -> Callable[[Any], torch.Tensor]:
    """A function that takes the entry of this key or attribute from what a network returns."""

    def chosen(returned: Any) -> torch.Tensor:
        found = returned.get(output) if isinstance(returned, Mapping) else getattr(returned, output, None)
        if not isinstance(found, torch.Tensor):
            there_are = ", ".join(map(str, returned)) if isinstance(returned, Mapping) else type(returned).__name__
            raise ModelError(f"output={output!r}: the network returns no such tensor; it returns {there_are}")
        return found

    return chosen
