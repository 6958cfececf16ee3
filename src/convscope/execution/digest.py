"""A digest of a network's weights, and whether a network is still the one it was."""

from __future__ import annotations

import hashlib
import itertools
import weakref
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import nn

_Versions: TypeAlias = tuple[tuple[int, int, float], ...]
_DIGESTS: weakref.WeakKeyDictionary[nn.Module, tuple[_Versions, str]] = weakref.WeakKeyDictionary()


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over all parameters and buffers, computed again only after one of them has changed."""
    tensors = list(tensors_in(module))
    # Changes through ``.data`` leave the version as it is; a sample of the values tells them at hardly any cost.
    versions = tuple((_address(t), 0 if t.is_inference() else t._version, _sample(t)) for t in tensors)
    known = _DIGESTS.get(module)
    if known is None or known[0] != versions:
        digest = hashlib.sha256()
        for tensor in tensors:
            dense = tensor.detach() if tensor.layout == torch.strided else tensor.detach().to_dense()
            flat = dense.cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(flat.numpy().data)
        known = (versions, digest.hexdigest())
        _DIGESTS[module] = known
    return known[1]


class Fingerprint:
    """Tells whether a network is still what it was: its modules, their options, and its parameters.

    The values of buffers do not count, as running changes them.
    """

    def __init__(self, module: nn.Module) -> None:
        self._modules = [weakref.ref(child) for child in module.modules()]
        self._state = _state_of(module)

    def is_of(self, module: nn.Module) -> bool:
        same = [known() is child for known, child in zip(self._modules, module.modules(), strict=False)]
        n_modules = sum(1 for _ in module.modules())
        return all(same) and len(self._modules) == n_modules and self._state == _state_of(module)


def _address(tensor: torch.Tensor) -> int:
    return tensor.data_ptr() if tensor.layout == torch.strided else id(tensor)


def _sample(tensor: torch.Tensor) -> float:
    """A sum of some thousand values, or of all: tells at hardly any cost what is written through ``.data``."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        return 0.0
    flat = tensor.detach().flatten()
    return float(flat[:: max(1, len(flat) // _SAMPLES)].sum())


_SAMPLES = 1000
_OPTIONS = (bool, int, float, str)


def _state_of(module: nn.Module) -> tuple[object, ...]:
    parameters = [(p.data_ptr(), 0 if p.is_inference() else p._version, _sample(p)) for p in module.parameters()]
    kinds = [(t.device, t.dtype, t.shape) for t in tensors_in(module)]
    options = [
        [(name, value) for name, value in vars(child).items() if type(value) in _OPTIONS and name != "training"]
        for child in module.modules()
    ]
    return parameters, kinds, options


def device_of(module: nn.Module) -> torch.device:
    """Where the weights are; the CPU where there are none."""
    return next((t.device for t in tensors_in(module)), torch.device("cpu"))


def dtype_of(module: nn.Module) -> torch.dtype:
    """The type of the weights; float32 where there are none."""
    return next((t.dtype for t in tensors_in(module) if t.is_floating_point()), torch.float32)


def tensors_in(module: nn.Module) -> Iterator[torch.Tensor]:
    return itertools.chain(module.parameters(), module.buffers())
