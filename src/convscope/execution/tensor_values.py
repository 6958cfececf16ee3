"""Keep and restore, or sample, the values of many tensors in a few operations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy

_SMALL = 1 << 14  # tensors of at most this many values are joined
_SAMPLES = 1000


class KeptValues:
    """A copy of the values of tensors, to restore those that change."""

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self._groups = [(group, [t.shape for t in group], _joined(group)) for group in _groups(tensors, _SMALL)]

    def restore(self) -> None:
        """Write back what has changed, and nothing else."""
        for tensors, shapes, before in self._groups:
            if [t.shape for t in tensors] == shapes and torch.equal(_joined(tensors), before):
                continue
            parts = before.split_with_sizes([shape.numel() for shape in shapes])
            for tensor, shape, part in zip(tensors, shapes, parts, strict=True):
                _write_back(tensor, part.view(shape))


def sampled(tensors: Iterable[torch.Tensor]) -> tuple[bytes, ...]:
    """The bytes of all values of small tensors, and of a thousand or two of each large one.

    At little cost they reveal writes through ``.data``, which a tensor's version does not count.
    """
    joined = [torch.cat([_evenly_spread(t.detach()) for t in group]) for group in _groups(tensors)]
    return tuple(values.view(torch.uint8).cpu().numpy().tobytes() for values in joined)


def _groups(tensors: Iterable[torch.Tensor], largest: int | None = None) -> list[list[torch.Tensor]]:
    """Tensors in groups that can be joined: of one type, on one device, with at most ``largest`` values each.

    Sparse, quantized and lazy tensors, whose values cannot be compared, are left out.
    """
    groups: dict[object, list[torch.Tensor]] = {}
    for tensor in tensors:
        if tensor.layout != torch.strided or tensor.is_quantized or is_lazy(tensor):
            continue
        is_plain = type(tensor) in (torch.Tensor, nn.Parameter)
        is_alone = not is_plain or (largest is not None and tensor.numel() > largest)
        key = id(tensor) if is_alone else (tensor.dtype, tensor.device)
        groups.setdefault(key, []).append(tensor)
    return list(groups.values())


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """A copy of all values in one row."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _evenly_spread(tensor: torch.Tensor) -> torch.Tensor:
    """One or two thousand evenly spread values of a tensor in one row; all values if there are fewer."""
    n = tensor.numel()
    if n <= _SAMPLES:
        return tensor.reshape(-1)
    if not tensor.is_contiguous():
        # In memory order if that is channels-last, so that nothing is copied.
        tensor = (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).contiguous()
    step = n // _SAMPLES
    return tensor.as_strided((-(-n // step),), (step,))


def _write_back(tensor: torch.Tensor, before: torch.Tensor) -> None:
    now = tensor.detach()
    if now.shape == before.shape and bool(((now == before) | ((now != now) & (before != before))).all()):
        return
    with torch.no_grad(), torch.inference_mode(tensor.is_inference()):
        now.resize_(before.shape).copy_(before)
