"""Which pixels matter, by how much the gradient varies over noisy copies of the image."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..checks import as_count
from ..models import Model
from ..progress import Progress
from ..registry import register, tried_by
from ..results import Attribution
from ..targets import Score, Target
from .method_run import Run
from .noisy_gradients import mean_powers
from .scored import ScoredImage


@register
@tried_by("saliency")
def vargrad(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    n_samples: int = 50,
    noise: float = 0.15,
    score: Score = "logit",
    seed: int = 0,
    progress: Progress | None = None,
) -> Attribution:
    """How much the gradient of the score varies over noisy copies of the image.

    Where a little noise changes the gradient, units switch on and off: the network is at work there. The map has
    no sign, and says little about how much a pixel counts.

        max over channels c of [mean over n of g_cn^2 - (mean over n of g_cn)^2],
        g_n = dS/dx at x + e_n,    e_n ~ Normal(0, (noise * (max x - min x))^2)

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        n_samples: noisy copies of each image, at least 2.
        noise: standard deviation, as a share of the range of the preprocessed image.
        score: "logit" (before softmax) or "probability".
        seed: of the noise, the same for every image.
        progress: called with (samples done, samples in all).

    Returns:
        `Attribution` with values (N, H, W), never negative, in squared score units per squared unit of the
        normalized input.

    Raises:
        TargetError: the target is not a class of the network.
        ParameterError: unknown score, fewer than two samples, negative noise.

    Cost: ``n_samples`` forward and backward passes an image, in batches that fit in memory.

    Example:
        >>> import torch
        >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> bool(vargrad(linear, torch.ones(1, 1, 2, 2), target=1, n_samples=4).values.max() < 1e-12)
        True

    References:
        Adebayo, Gilmer, Goodfellow, Kim: Local explanation methods for deep neural networks lack sensitivity to
        parameter values, 2018, arXiv 1810.03307.
    """
    as_count(n_samples, "n_samples", 2)
    run = Run(
        "vargrad",
        model,
        images,
        target=target,
        score=score,
        parameters={"n_samples": n_samples, "noise": noise, "seed": seed},
        unit=f"variance of the gradient ({score})",
        signed=False,
        n_steps=n_samples,
        jointly=True,
        progress=progress,
    )

    def maps_of(image: ScoredImage) -> Tensor:
        mean, square = mean_powers(image, n_samples, noise, seed, powers=2)
        variance: Tensor = (square - mean**2).clamp_min(0)  # below 0 by rounding only
        return variance.amax(dim=1)

    return run.by_image(maps_of)
