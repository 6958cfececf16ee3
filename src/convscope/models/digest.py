"""What results say of where they come from: the versions of packages, and a digest of a network's weights."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import itertools
import weakref
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import nn

_VERSIONS = ("convscope", "torch", "torchvision", "timm", "pillow", "numpy")


@functools.cache
def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _VERSIONS}


_Versions: TypeAlias = tuple[tuple[int, int, float], ...]
_DIGESTS: weakref.WeakKeyDictionary[nn.Module, tuple[_Versions, str]] = weakref.WeakKeyDictionary()


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over all parameters and buffers, computed again only after one of them has changed."""
    tensors = list(tensors_in(module))
    # Changes through ``.data`` leave the version as it is; a sample of the values tells them at hardly any cost.
    with torch.no_grad():
        versions = tuple(
            (t.data_ptr(), 0 if t.is_inference() else t._version, float(t.flatten()[::997].sum())) for t in tensors
        )
    known = _DIGESTS.get(module)
    if known is None or known[0] != versions:
        digest = hashlib.sha256()
        for tensor in tensors:
            flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(flat.numpy().data)
        known = (versions, digest.hexdigest())
        _DIGESTS[module] = known
    return known[1]


def tensors_in(module: nn.Module) -> Iterator[torch.Tensor]:
    return itertools.chain(module.parameters(), module.buffers())
