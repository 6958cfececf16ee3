"""Networks that take (N, H, W, C), as Keras models with the torch backend do, as modules of (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ..errors import ModelError

_CHANNELS = (1, 3, 4)


def torch_module(network: Any) -> nn.Module:
    """A network as a module of (N, C, H, W): as it is, or a Keras model inside of one.

    Raises:
        ModelError: it is no `nn.Module`; for a Keras model of another backend, how to choose torch's.
    """
    is_keras = any(kind.__module__.partition(".")[0] == "keras" for kind in type(network).__mro__)
    if isinstance(network, nn.Module):
        return KerasNetwork(network) if is_keras else network
    advice = "give a torch.nn.Module or a Model"
    if is_keras:
        advice = "with the torch backend it would be: set KERAS_BACKEND=torch before keras is imported"
    raise ModelError(f"a {type(network).__name__} is not a network: {advice}")


def with_channels_last(network: nn.Module, x: torch.Tensor) -> Any:
    """Run a network that takes (N, H, W, C) on images (N, C, H, W)."""
    return network(x.permute(0, 2, 3, 1))


class KerasNetwork(nn.Module):
    """A Keras model as a module of (N, C, H, W) with its layers, which Keras does not register, by their names."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.channels_last = _takes_channels_last(network)
        self.names = dict(_layers_of(network))
        self.held = nn.ModuleList(self.names.values())  # so that their hooks and modes are put back

    def forward(self, x: torch.Tensor) -> Any:
        return with_channels_last(self.network, x) if self.channels_last else self.network(x)

    def get_submodule(self, target: str) -> nn.Module:
        """A layer by the name that it has in Keras."""
        return self.names[target] if target in self.names else super().get_submodule(target)

    def named_modules(self, *args: Any, **options: Any) -> Iterator[tuple[str, nn.Module]]:
        """The layers by the names that they have in Keras."""
        yield "", self
        yield from self.names.items()


def _layers_of(network: Any, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers of a Keras model in order; those of a model inside of it after a dot."""
    for layer in network.layers:
        yield f"{prefix}{layer.name}", layer
        if hasattr(layer, "layers"):
            yield from _layers_of(layer, f"{prefix}{layer.name}.")


def _takes_channels_last(network: Any) -> bool:
    """Whether a Keras model takes (N, H, W, C), by the shape of its input, or else by Keras's setting."""
    import keras

    shape = getattr(network, "input_shape", None)
    if isinstance(shape, tuple) and len(shape) == 4:
        is_last, is_first = shape[3] in _CHANNELS, shape[1] in _CHANNELS
        if is_last != is_first:
            return is_last
    return bool(keras.config.image_data_format() == "channels_last")
