"""A digest of a network's weights, and whether a network is still the one it was."""

from __future__ import annotations

import hashlib
import itertools
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn

from .members import Members, members_of
from .tensor_values import sampled


class _Written(NamedTuple):
    """Tells whether tensors have been written to or replaced."""

    addresses: list[int]
    versions: list[int]
    sample: tuple[bytes, ...]

    @classmethod
    def of(cls, tensors: Sequence[torch.Tensor]) -> _Written:
        """Their addresses, versions and sampled values now."""
        return cls(*_addresses_and_versions(tensors), sampled(tensors))


def _addresses_and_versions(tensors: Sequence[torch.Tensor]) -> tuple[list[int], list[int]]:
    addresses = [t.data_ptr() if t.layout == torch.strided else id(t) for t in tensors]
    return addresses, [0 if t.is_inference() else t._version for t in tensors]


_DIGESTS: weakref.WeakKeyDictionary[nn.Module, tuple[_Written, _Written, str]] = weakref.WeakKeyDictionary()
# When a network's parameters were looked at last, and what was found.
_LOOKS: weakref.WeakKeyDictionary[nn.Module, tuple[float, _Written]] = weakref.WeakKeyDictionary()


def weights_digest(module: nn.Module, *, since: float | None = None) -> str:
    """SHA-256 over all parameters and buffers, computed again only after one of them has changed.

    ``since``: the `time.perf_counter` after which a `Fingerprint` may have sampled the parameters already, so that
    it need not be done again.
    """
    members = members_of(module)
    parameters = _looked_at(module, members.parameters, since) or _Written.of(members.parameters)
    buffers = _Written.of(members.buffers)
    known = _DIGESTS.get(module)
    if known is None or known[:2] != (parameters, buffers):
        parameters = _Written.of(members.parameters)  # as they are hashed, whatever they were when looked at
        digest = hashlib.sha256()
        for tensor in members.tensors:
            dense = tensor.detach() if tensor.layout == torch.strided else tensor.detach().to_dense()
            flat = dense.cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(flat.numpy().data)
        known = (parameters, buffers, digest.hexdigest())
        _DIGESTS[module] = known
    return known[2]


def _looked_at(module: nn.Module, parameters: Sequence[torch.Tensor], since: float | None) -> _Written | None:
    """The sample of the parameters taken since then, if nobody has written to them after it."""
    at, written = _LOOKS.get(module, (0.0, None))
    if since is None or written is None or at < since:
        return None
    return written if _addresses_and_versions(parameters) == written[:2] else None


class Fingerprint:
    """Tells whether a network has changed: its modules, their options, or its parameters.

    Values of buffers are ignored, as runs change them.
    """

    def __init__(self, module: nn.Module) -> None:
        members = members_of(module)
        self._modules = [weakref.ref(child) for child in members.modules]
        self._written, self._options = _Written.of(members.parameters), _options_of(members)

    def is_of(self, module: nn.Module) -> bool:
        """Whether the network is unchanged since."""
        members = members_of(module)
        if len(members.modules) != len(self._modules):
            return False
        written = _Written.of(members.parameters)
        _LOOKS[module] = time.perf_counter(), written
        is_same = all(known() is child for known, child in zip(self._modules, members.modules, strict=True))
        return is_same and written == self._written and _options_of(members) == self._options


_OPTIONS = frozenset((bool, int, float, str))


def _options_of(members: Members) -> tuple[object, ...]:
    """In flat lists, as thousands of pairs would have Python collect garbage."""
    kinds = [[t.device for t in members.tensors], [t.dtype for t in members.tensors]]
    sizes = [size for t in members.tensors for size in (t.ndim, *t.shape)]
    options = [
        part
        for child in members.modules
        for name, value in vars(child).items()
        if type(value) in _OPTIONS and name != "training"
        for part in (name, value)
    ]
    return kinds, sizes, options


def device_of(module: nn.Module) -> torch.device:
    """The device of the weights; the CPU without any."""
    return next((t.device for t in _tensors_in(module)), torch.device("cpu"))


def dtype_of(module: nn.Module) -> torch.dtype:
    """The type of the weights; float32 without any."""
    return next((t.dtype for t in _tensors_in(module) if t.is_floating_point()), torch.float32)


def _tensors_in(module: nn.Module) -> Iterator[torch.Tensor]:
    """Parameters, then buffers, lazily, as callers need only the first."""
    return itertools.chain(module.parameters(), module.buffers())
