"""The outputs of networks that say what is where: a score for each class and pixel, or instances with masks."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import ModelError
from ..execution.output_parts import are_dicts_of_images, entries_of, listed

_INSIDE = 0.5  # of an instance: from this mask value on


def n_classes_in(output: Any) -> int | None:
    """The number of classes of a segmentation; None for instances, which do not say it."""
    return None if is_of_instances(output) else segmentation(output).shape[1]


def scores_in_place(output: Any, index: int | torch.Tensor) -> torch.Tensor:
    """The scores (N, h, w) of a class, one for all images or (N,), at each pixel."""
    if not is_of_instances(output):
        maps = segmentation(output)
        if isinstance(index, int):
            return maps[:, index]
        return maps[torch.arange(len(maps), device=maps.device), index.expand(len(maps))]
    return torch.stack([_strongest(found, index, found["scores"]) for found in output])


def where_seen(output: Any, index: int | torch.Tensor, least: float) -> torch.Tensor:
    """The pixels (N, h, w) that are of the class, one for all images or (N,).

    ``least`` is the threshold of a network with one class.
    """
    if is_of_instances(output):
        ones = [_strongest(found, index, torch.ones_like(found["scores"])) for found in output]
        return torch.stack(ones) > _INSIDE
    maps = segmentation(output)
    if maps.shape[1] == 1:
        return maps[:, 0] > least
    return maps.argmax(dim=1) == (index if isinstance(index, int) else index[:, None, None])


def segmentation(output: Any) -> torch.Tensor:
    """The map (N, K, h, w) of a segmentation network: its output, or the entry of it that has this form.

    torchvision names it "out", beside the map of a second head; Hugging Face names it "logits".
    """
    found = _only_map(output)
    if found is None:
        raise ModelError(
            f"the network returns {listed(output)}; a Region needs one segmentation map (N, K, h, w), or a list "
            "of dicts: labels, scores, masks. If one of these is the map, name it: Model(..., output=)"
        )
    return found


def _only_map(output: Any) -> torch.Tensor | None:
    """The tensor (N, K, h, w) that the name or the number of dimensions tells; None if several can be meant."""
    entries = {path: entry for path, entry in entries_of(output) if isinstance(entry, torch.Tensor)}
    maps = {path: entry for path, entry in entries.items() if entry.ndim == 4}
    named = [maps[name] for name in ("out", "logits") if name in maps] or list(maps.values())
    return named[0] if len(named) == 1 else None


def is_of_instances(output: Any) -> bool:
    """Whether it is a list of dicts with masks, as torchvision's Mask R-CNN returns it."""
    return are_dicts_of_images(output, {"labels", "scores", "masks"})


def _strongest(found: dict[str, torch.Tensor], index: int | torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """The largest score times mask value (h, w) among the instances of a class; 0 if there is none."""
    masks = found["masks"].squeeze(1) if found["masks"].ndim == 4 else found["masks"]
    strength = masks * (scores * (found["labels"] == index))[:, None, None]
    return torch.nn.functional.pad(strength, (0, 0, 0, 0, 0, 1)).amax(dim=0)
