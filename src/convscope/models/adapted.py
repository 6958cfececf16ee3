"""A network behind a function that calls it and one that chooses its class scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn

from ..checks import shown
from ..errors import ModelError, ParameterError
from ..execution.output_parts import listed
from ..execution.running import stands_for

Call: TypeAlias = Callable[[nn.Module, torch.Tensor], Any]
Choose: TypeAlias = Callable[[Any], Any]


class Adapted(nn.Module):
    """A network as methods take it: from one tensor (N, ...) to class scores (N, K).

    Its layers keep the names that they have in the network.

    Args:
        network: any module.
        call: ``call(network, x)`` runs it; by default ``network(x)``.
        choose: from what it returns to what methods take as its output; by default all of it.
    """

    def __init__(
        self,
        network: nn.Module,
        call: Call | None = None,
        choose: Choose | None = None,
    ) -> None:
        super().__init__()
        self.network, self.call, self.choose = network, call, choose
        stands_for(self, network)  # it has no flags and hooks of its own

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        stands_for(self, self.network)  # of a copy

    def __getattr__(self, name: str) -> Any:
        """A layer or an attribute of the network, as PyTorch's tools find layers by their names."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "network" or name.startswith("__"):
                raise
            return getattr(self.network, name)

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

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """The weights by the names that they have in the network."""
        return self.network.state_dict(*args, **options)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """Load weights by the names that they have in the network."""
        return self.network.load_state_dict(state_dict, *args, **options)


def adapted(network: nn.Module, call: Call | None, choose: Choose | None) -> nn.Module:
    """A network behind these functions, see `Adapted`; the network itself if there is neither."""
    return network if call is None and choose is None else Adapted(network, call, choose)


def chooser(output: str | int | Callable[[Any], Any] | None) -> Choose | None:
    """A function that takes the class scores (N, K) from what a network returns.

    Args:
        output: the path to them, through keys, attributes and numbers, such as "logits", 0 or "heads.1.out"; or a
            function.

    Raises:
        ParameterError: it is neither.
    """
    if output is None:
        return None
    if callable(output):
        return lambda returned: _columns(output(returned), "the function given as output=")
    if isinstance(output, bool) or not isinstance(output, str | int) or output == "":
        raise ParameterError(
            f"output={shown(output)}: expected a key, attribute or index of what the network returns, a path of "
            "these such as 'heads.0', or a function from it to class scores"
        )
    steps = str(output).split(".")

    def chosen(returned: Any) -> torch.Tensor:
        found = returned
        for step in steps:
            found = _part(found, step, output, returned)
        return _columns(found, f"output={output!r}")

    return chosen


def _part(value: Any, step: str, path: str | int, returned: Any) -> Any:
    """One step of a path: a key, an index, or an attribute."""
    is_number = step.removeprefix("-").isdecimal()
    if isinstance(value, Mapping):
        if step in value:
            return value[step]
        if is_number and int(step) in value:
            return value[int(step)]
    elif isinstance(value, Sequence) and is_number and -len(value) <= int(step) < len(value):
        return value[int(step)]
    if not step.startswith("_") and not isinstance(value, torch.Tensor) and hasattr(value, step):
        return getattr(value, step)
    raise ModelError(f"output={path!r}: the network's output has no {step!r} there; it returns {listed(returned)}")


def _columns(scores: Any, source: str) -> torch.Tensor:
    """Scores (N,) as (N, 1); other tensors as they are."""
    if not isinstance(scores, torch.Tensor):
        raise ModelError(f"{source} gives {listed(scores)}; expected a tensor of class scores (N, K)")
    return scores[:, None] if scores.ndim == 1 else scores
