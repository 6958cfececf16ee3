"""Deletion and insertion curves: the score as pixels are removed, or inserted, in the order of a ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch

from ..results import Array

# From n, the number of variants, and a function from (first, end) to these variants, to the scores (n, T).
ScoreVariants: TypeAlias = Callable[[int, Callable[[int, int], torch.Tensor]], torch.Tensor]


class Curves(NamedTuple):
    """Scores for R rankings, B baselines, K + 1 shares of the pixels from 0 to 1, and T targets."""

    deletion: Array  # (R, B, K + 1, T), without the highest-ranked pixels
    insertion: Array  # (R, B, K + 1, T), with only the highest-ranked pixels

    def areas(self) -> tuple[Array, Array]:
        """The areas under the deletion and the insertion curves, each (R, B, T), over shares from 0 to 1."""
        n_steps = self.deletion.shape[2] - 1
        deletion, insertion = (np.trapezoid(curve, dx=1 / n_steps, axis=2) for curve in self)
        return deletion, insertion


def ranks(values: Array, seed: int = 0) -> Array:
    """The rank of each pixel of a map, of its shape, 0 for the largest value; ties are broken at random."""
    shuffled = np.random.default_rng(seed).permutation(values.size)
    order = shuffled[np.argsort(-values.ravel()[shuffled].astype(np.float64), kind="stable")]
    found = np.empty(values.size, np.int32)
    found[order] = np.arange(values.size, dtype=np.int32)
    return found.reshape(values.shape)


def n_variants(n_rankings: int, n_baselines: int, n_steps: int) -> int:
    """The number of images that `curves` runs."""
    return 1 + n_baselines + 2 * n_rankings * n_baselines * (n_steps - 1)


def curves(
    x: torch.Tensor,
    fills: Sequence[torch.Tensor],
    rankings: Sequence[Array],
    n_steps: int,
    score: ScoreVariants,
) -> Curves:
    """The deletion and insertion curves of one image, for all rankings and baselines in one pass.

    Args:
        x: (C, H, W), preprocessed, on the model's device; or a signal (C, L), a volume (C, D, H, W).
        fills: B baselines (C, H, W), which replace the pixels not shown.
        rankings: R arrays (H, W) of ranks, see `ranks`.
        n_steps: K; step k removes, or inserts, the round(k / K * H * W) highest-ranked pixels.
        score: a function that scores images, as `score_variants` does.

    Cost: 1 + B + 2 * R * B * (K - 1) forward passes, run by ``score``.

    References:
        Petsiuk, Das, Saenko: RISE, 2018, arXiv 1806.07421.
    """
    shown, behind = x.movedim(0, -1).contiguous(), torch.stack(list(fills)).movedim(1, -1).contiguous()
    orders = torch.from_numpy(np.stack(list(rankings))).to(x.device)
    n_pixels = orders[0].numel()
    counts = torch.tensor([round(k / n_steps * n_pixels) for k in range(n_steps + 1)], device=x.device)
    # First the image and the baselines, where curves start or end; then (ranking, baseline, is_insertion, step).
    shape = (len(orders), len(behind), 2, n_steps - 1)
    n_ends = 1 + len(behind)
    n_inner = int(np.prod(shape))

    def variants(first: int, end: int) -> torch.Tensor:
        ends = [shown if n == 0 else behind[n - 1] for n in range(first, min(end, n_ends))]
        inner = np.arange(max(first, n_ends), end) - n_ends
        if not len(inner):
            return torch.stack(ends).movedim(-1, 1)
        r, b, is_insertion, k = (torch.from_numpy(i).to(x.device) for i in np.unravel_index(inner, shape))
        each = (-1, *(1 for _ in x.shape[1:]))
        highest = orders[r] < counts[k + 1].view(each)
        hidden = highest ^ (is_insertion == 1).view(each)
        made = torch.where(hidden[..., None], behind[b], shown)
        return torch.cat([torch.stack(ends), made] if ends else [made]).movedim(-1, 1)

    scores = score(n_ends + n_inner, variants).numpy()
    whole, gone, inner = scores[0], scores[1:n_ends], scores[n_ends:].reshape(*shape, -1)
    starts = np.broadcast_to(whole, (*shape[:2], 1, scores.shape[1]))
    ends = np.broadcast_to(gone[None, :, None], (*shape[:2], 1, scores.shape[1]))
    return Curves(
        deletion=np.concatenate([starts, inner[:, :, 0], ends], axis=2),
        insertion=np.concatenate([ends, inner[:, :, 1], starts], axis=2),
    )
