"""`with_dictionary`: directions of a layer, such as those of a sparse autoencoder, as channels of another one."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from ..arguments import checks_arguments
from ..checks import Sides, as_array, shown
from ..errors import LayerError, ModelError, ParameterError
from ..execution import evaluating
from ..execution.capture import tensors_of
from ..models import Layer, Model, as_maps, as_model, from_maps
from ..results import Array

NAME = "dictionary"  # of the layer


@checks_arguments
def with_dictionary(
    model: Model | nn.Module,
    layer: str,
    dictionary: Any,
    *,
    encoder: Callable[[torch.Tensor], torch.Tensor] | None = None,
    input_size: int | Sides | None = None,
) -> Model:
    """The same network with a further layer, "dictionary", whose channels are directions of another layer.

    Everything that takes a layer then takes these directions as units: `scan`, `unit`, `unit_patches`,
    `necessity`, `visualize`, `atlas`, `feature_maps`. At each place of the layer, with activations a:

        c = encoder(a), or c_k = a . w_k / ||w_k||^2    the channels of "dictionary"
        a' = a + sum over k of (c'_k - c_k) w_k         what the network goes on with where c is set to c'

    Where nothing sets c, a' is a, and the network returns what it did, to the bit. What the directions do not span
    stays as it is.

    Args:
        model: a `Model` or a module, which stays as it is; the new one shares its weights.
        layer: the name of a module whose output the directions are of; see `Model.layers`.
        dictionary: (C, D) w, a column for each of D directions, such as the decoder of a sparse autoencoder.
        encoder: from activations (M, C) to c (M, D), both tensors; a module, or any function of PyTorch. By
            default each c_k is what lies along w_k alone, with its sign.
        input_size: of the images, where the model has none of its own.

    Returns:
        A `Model` with its own layers; a scan of it is a scan of another network than the one without.

    Raises:
        LayerError: no such layer, or one that is no module's output.
        ModelError: the copy of the network does not return the same.
        ParameterError: a dictionary or an encoder that does not fit the layer.

    Cost: C * D multiplications for each place and run, and twice as many where c is set.

    Example:
        >>> from convscope import scan
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
        >>> model = with_dictionary(net, "1", torch.rand(4, 7), input_size=8)
        >>> scan(model, torch.rand(5, 3, 8, 8), layers="dictionary").n_channels("dictionary")
        7

    References: sparse autoencoders' directions as units: Bricken et al. 2023, Towards monosemanticity,
    transformer-circuits.pub/2023/monosemantic-features.
    """
    model = as_model(model)
    structure = model.checked(model.input_shape(input_size))
    found = structure.find(layer)
    modules = dict(model.network.named_modules())
    if found.name not in modules or not found.name:
        raise LayerError(f"layer={layer!r} is no output of a module inside the network; name a module of its own")
    if NAME in modules:
        raise LayerError(f"the network has a layer {NAME!r} already; give the network without it")
    atoms = torch.as_tensor(checked_dictionary(dictionary, found.shape[0])).to(model.device, model.dtype)
    parts = [*model.network.parameters(), *model.network.buffers()]
    network = copy.deepcopy(model.network, {id(part): part for part in parts})
    if isinstance(network, nn.Sequential):
        network = _Chain(network)
    spliced = _Splice(found, atoms, encoder)
    network.add_module(NAME, spliced.units)
    network.get_submodule(found.name).register_forward_hook(spliced)
    made = model.of_network(network)
    _check(model, made, structure.example)
    return made


def _check(model: Model, made: Model, example: torch.Tensor) -> None:
    """`ModelError` unless both return the same, as where a network looks at what modules it has."""
    scores = []
    for one in (model, made):
        with evaluating(one.module):
            scores.append(torch.cat([part.flatten() for part in tensors_of(one.module(example.clone()))]))
    if not torch.equal(*scores):
        raise ModelError(f"{model.name} returns something else with a layer beside its own; wrap it in a module")


def checked_dictionary(dictionary: Any, n_channels: int) -> Array:
    """A dictionary (C, D) as an array; `ParameterError` if it is not one."""
    expected = f"an array ({n_channels}, D) of finite numbers, a column for each direction"
    given = dictionary.detach().cpu() if isinstance(dictionary, torch.Tensor) else dictionary
    values = as_array(given, "dictionary", expected)
    fits = values.ndim == 2 and len(values) == n_channels and values.shape[1] and values.dtype.kind in "fiu"
    if not fits or not np.isfinite(values).all():
        raise ParameterError(f"dictionary={shown(dictionary)}: expected {expected}")
    return np.asarray(values, np.float64)


class _Chain(nn.Sequential):
    """Runs what another one holds, without the dictionary that is put beside it."""

    def __init__(self, chain: nn.Sequential) -> None:
        super().__init__(OrderedDict(chain._modules))
        self.training = chain.training

    def __iter__(self) -> Iterator[nn.Module]:
        return (module for name, module in self._modules.items() if module is not None and name != NAME)


class _Units(nn.Module):
    """Passes the coefficients (N, D, *sides) on, so that they are a layer's output that can be read and set."""

    atoms: torch.Tensor
    encoder: Callable[[torch.Tensor], torch.Tensor] | None

    def __init__(self, atoms: torch.Tensor, encoder: Callable[[torch.Tensor], torch.Tensor] | None) -> None:
        super().__init__()
        self.register_buffer("atoms", atoms)
        self.encoder = encoder  # a module's weights count as the network's

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        return coefficients.clone()

    def of(self, activations: torch.Tensor) -> torch.Tensor:
        """The coefficients (M, D) of activations (M, C)."""
        if self.encoder is None:
            return activations @ (self.atoms / self.atoms.square().sum(dim=0).clamp_min(1e-30))
        found = self.encoder(activations)
        expected = (len(activations), self.atoms.shape[1])
        if not isinstance(found, torch.Tensor) or tuple(found.shape) != expected:
            given = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise ParameterError(f"encoder: it returned {given}; expected a tensor {expected}")
        return found


class _Splice:
    """A hook on the layer that sends what its directions hold through `_Units`."""

    def __init__(self, layer: Layer, atoms: torch.Tensor, encoder: Any) -> None:
        self._layer, self.units = layer, _Units(atoms, encoder)

    def __call__(self, module: nn.Module, given: Any, output: torch.Tensor) -> torch.Tensor:
        maps = as_maps(output, self._layer)
        n, sides = len(maps), maps.shape[2:]
        held = self.units.of(maps.flatten(2).transpose(1, 2).flatten(0, 1) if sides else maps)
        if sides:
            held = held.reshape(n, -1, held.shape[1]).transpose(1, 2).reshape(n, -1, *sides)
        passed = self.units(held)
        change = torch.einsum("nd...,cd->nc...", passed - held, self.units.atoms)
        return from_maps(maps + change, self._layer, output)
