"""At which layer a class activation map is made: the last feature map, or the last tokens of a transformer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from ..errors import LayerError
from ..models import Layer, Model, Structure, as_maps, differentiable, intercepted

# Tokens before those of the patches: of the class, of a distillation, registers.
_PREFIX_AT_MOST = 16


@dataclass(frozen=True)
class CamLayer:
    """A layer that puts out something at places of the image; ``maps`` makes (n, K, h, w) of its output."""

    name: str
    maps: Callable[[torch.Tensor], torch.Tensor]


def cam_layer(model: Model, shape: tuple[int, int, int], name: str | None) -> CamLayer:
    """The layer of this name, or the one to take for inputs of this (C, H, W).

    By default that is the last feature map before pooling and classifier. In a transformer it is the last layer
    that puts out one vector a patch on which the scores depend: where only the class token is read at the end,
    that is the input of the last attention.

    Raises:
        LayerError: there is none, or the named one has no places.
    """
    structure = model.structure(shape)
    if name is not None and not isinstance(name, str):
        raise LayerError(f"layer={name!r}: expected one name")
    if name is not None:
        chosen = structure.find(name)
        if name.endswith(":input"):
            raise LayerError(f"layer={name!r} goes into a module; name the module that puts it out")
        if chosen.is_spatial:
            return _of_maps(chosen)
        if len(chosen.shape) == 2 and (grid := _grid(structure, chosen)):
            return _of_tokens(chosen, grid)
        raise LayerError(f"layer={name!r} puts out {chosen.shape}; a class activation map needs (C, H, W)")
    last = structure.last_spatial
    if last is None:
        raise LayerError(
            f"{model.name} has no feature map of more than one value for inputs of {shape}, and a class "
            "activation map needs one; give larger images, or use occlusion or saliency"
        )
    tokens = [layer for layer in structure.tokens if _grid(structure, layer)]
    read = _last_that_is_read(model, shape, [_of_tokens(layer, last.shape[1:]) for layer in tokens])
    return read or _of_maps(last)


def _grid(structure: Structure, layer: Layer) -> tuple[int, ...] | None:
    """The places (h, w) of the tokens (T, D) of a layer, which are those of the map that they were made from."""
    origin = structure.last_spatial
    if origin is None or layer.shape[1] != origin.shape[0]:
        return None
    prefix = layer.shape[0] - origin.shape[1] * origin.shape[2]
    return origin.shape[1:] if 0 <= prefix <= _PREFIX_AT_MOST else None


def _of_maps(layer: Layer) -> CamLayer:
    return CamLayer(layer.name, lambda output: as_maps(output, layer))


def _of_tokens(layer: Layer, grid: tuple[int, ...]) -> CamLayer:
    """Tokens (n, T, D) in their places, (n, D, h, w), without those that come before the patches."""
    height, width = grid

    def maps(output: torch.Tensor) -> torch.Tensor:
        patches = output[:, -height * width :].transpose(1, 2)
        return patches.reshape(*patches.shape[:2], height, width)

    return CamLayer(layer.name, maps)


def _last_that_is_read(model: Model, shape: tuple[int, int, int], layers: list[CamLayer]) -> CamLayer | None:
    """The last of these layers whose places have a gradient: found by running the network on noise once."""
    if not layers:
        return None
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    found: dict[str, torch.Tensor] = {}

    def kept(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        def keep(output: torch.Tensor) -> torch.Tensor:
            found[name] = output if output.requires_grad else output.detach().requires_grad_()
            return found[name].clone()  # what follows may be in place

        return keep

    with differentiable(model.module), ExitStack() as stack:
        for layer in layers:
            stack.enter_context(intercepted(model.module, layer.name, kept(layer.name)))
        output = model.module(model.preparation(shape)(noise))
        if not isinstance(output, torch.Tensor) or not output.requires_grad:
            return None
        places = [found[layer.name] for layer in layers]
        gradients = torch.autograd.grad(output.square().sum(), places, allow_unused=True)
    read = [
        layer
        for layer, gradient in zip(layers, gradients, strict=True)
        if gradient is not None and bool(layer.maps(gradient).any())
    ]
    return read[-1] if read else layers[-1]  # a classifier of zeros reads nothing
