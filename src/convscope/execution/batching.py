"""Choose how many images a network takes at once, and halve batches when memory runs out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import torch

# Measured on 2 cores with channels-last VGG16, ResNet50, MobileNetV2 and efficientnet-lite0: on a CPU, batches of
# 4 are fastest, with and without a backward pass, and of 6 with fused operations; batches of 32 take up to twice
# the time per image, because the maps no longer fit into the caches.
_LARGEST, _LARGEST_FUSED = 4, 6
_LARGEST_ELSEWHERE = 64
_SHARE = 0.25  # of the free memory


def fitting_batch(
    n_values: int,
    device: torch.device,
    *,
    backward: bool = False,
    fused: bool = False,
    at_most: int | None = None,
) -> int:
    """The number of images whose activations fit into a quarter of the free memory.

    Args:
        n_values: number of values in all layers' outputs for one image.
        device: where the network runs.
        backward: whether all outputs are kept for a backward pass. A forward pass keeps only a few layers at a
            time; a quarter of all outputs is a safe estimate.
        fused: whether the network runs inside `fused`.
        at_most: the fastest batch size; by default the one measured for whole maps.
    """
    bytes_per_image = 4 * n_values * (2 if backward else 0.25)
    largest = at_most or _LARGEST_ELSEWHERE
    if at_most is None and device.type == "cpu":
        largest = _LARGEST_FUSED if fused else _LARGEST
    return int(max(1, min(largest, _SHARE * free_memory(device) / bytes_per_image)))


def free_memory(device: torch.device) -> int:
    """Free bytes on a device."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on this system
        return 4 << 30


def in_batches(n: int, size: int, run: Callable[[int, int], None]) -> Iterator[int]:
    """Call run(first, end) for batches of 0..n, halve their size when memory runs out, and yield each end."""
    first = 0
    while first < n:
        end = min(first + size, n)
        try:
            run(first, end)
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not _is_out_of_memory(error):
                raise
            torch.cuda.empty_cache()
            size = max(1, size // 2)
            continue
        first = end
        yield end


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: on a GPU by the type of the error, on a CPU also by its message."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in str(error)
