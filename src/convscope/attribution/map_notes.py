"""Notes on maps: coarse gradients; maps that are empty, all alike, incomplete, or no more than rounding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from ..results import Array

# Times the rounding of a score, below which differences say little in half precision, and nothing in any:
# two scores of the same image differ by as much if only the order of sums does.
_MANY_ROUNDINGS, _FEW_ROUNDINGS = 200, 8


def notes_on_inputs(explained: Sequence[str], of: Iterable[str]) -> list[str]:
    """Which of the inputs of a network with several are explained; the others are held."""
    if not explained:
        return []
    held = [name for name in of if name not in explained]
    together = " together" if len(explained) > 1 else ""
    return [f"explained{together}: {', '.join(explained)}; held as given: {', '.join(held) or 'none'}"]


def notes_on_gradients(detached: str, dtype: torch.dtype) -> list[str]:
    """Notes on gradients that do not reach the image everywhere, or have few digits.

    Args:
        detached: the name of a layer whose output has no gradient, or "".
        dtype: of the network.
    """
    notes = []
    if detached:
        notes.append(
            f"layer {detached!r} runs without gradients, or its output is detached: what it finds in the image is "
            "not in this map"
        )
    if dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        notes.append(f"gradients in {name} are coarse: for those of single pixels run module.float()")
    return notes


def notes_on_maps(values: Array, images: Array, *, positive_only: bool) -> list[str]:
    """Notes on maps (N, H, W) that are zero everywhere, or the same for different images (N, H, W, 3)."""
    notes: list[str] = []
    n_zero = int((~values.reshape(len(values), -1).any(axis=1)).sum())
    if n_zero:
        hint = "; kind='signed' keeps what speaks against it" if positive_only else ""
        notes.append(f"{n_zero} of {len(values)} maps are zero everywhere: nothing was found for the target{hint}")
    n_same = _n_same(values, images) if len(values) > 1 else 0
    if n_same:
        notes.append(
            f"{n_same} different images have the same map, which then says nothing about any of them: it does not "
            "depend on the image, as the gradient of a linear network does not"
        )
    return notes


def _n_same(values: Array, images: Array) -> int:
    """How many different images share a map, zeros left out."""
    seen: dict[bytes, set[bytes]] = {}
    for value, image in zip(values, images, strict=True):
        if value.any():
            seen.setdefault(_digest(value), set()).add(_digest(image))
    return sum(len(of) for of in seen.values() if len(of) > 1)


def _digest(array: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()


def completeness_errors(values: torch.Tensor, change: torch.Tensor) -> list[float]:
    """How far the sum of each map (T, ..., *sides) is from the ``change`` (T, ...) of the score, as a share of it.

    Image by image, for each image its T targets.
    """
    total = values.sum(dim=tuple(range(change.ndim, values.ndim))).to(change)
    # Where both are rounding, nothing had to add up and nothing was found: no error.
    size = torch.maximum(total.abs(), change.abs())
    error = (total - change).abs() / torch.where(change != 0, change.abs(), size)
    error = torch.where(size < 1e-6, 0.0, error).transpose(0, -1).flatten()
    return [float(f"{e:.2g}") for e in error.tolist()]


def note_on_rounding(dtype: torch.dtype, scores: torch.Tensor, values: torch.Tensor) -> str | None:
    """A note where differences of scores are hardly larger than the rounding of a score.

    Args:
        dtype: of the network.
        scores: (T,) or (M, T), that of each target, or all that were compared.
        values: (M, T), the differences.
    """
    n_targets = values.shape[-1]
    score = scores.detach().double().cpu().reshape(-1, n_targets).abs().amax(dim=0)
    rounding = torch.finfo(dtype).eps * score
    largest = values.detach().double().cpu().abs().amax(dim=0)
    is_half = dtype in (torch.float16, torch.bfloat16)
    within = (largest > 0) & (largest < (_MANY_ROUNDINGS if is_half else _FEW_ROUNDINGS) * rounding)
    if not within.any():
        return None
    t = int(within.int().argmax())  # the first of them
    name, most = str(dtype).removeprefix("torch."), float(largest[t])
    if is_half:
        return (
            f"scores in {name} are rounded to about {rounding[t]:.1g}, and the largest value is {most:.1g}: small "
            "values are rounding; run the network in float32 (module.float())"
        )
    return (
        f"scores up to {score[t]:.3g} differ by at most {most:.1g}, which is their rounding in {name}: nothing "
        "was found beyond rounding, whatever the colors show"
    )
