"""Which pixels matter, by the gradient averaged over noisy copies of the image."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..models import Model
from ..progress import Progress
from ..registry import register, tried_by
from ..results import Attribution
from ..targets import Score, Target
from .gradient_kinds import GradientKind, gradient_unit, per_pixel
from .method_run import Run
from .noisy_gradients import mean_powers
from .scored import ScoredImage


@register
@tried_by("saliency")
def smoothgrad(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    n_samples: int = 50,
    noise: float = 0.15,
    kind: GradientKind = "absolute",
    score: Score = "logit",
    seed: int = 0,
    progress: Progress | None = None,
) -> Attribution:
    """The gradient of the score, averaged over noisy copies of the image.

    The gradient of a single image is grainy; averaging over slightly different images removes much of the grain.
    The map looks better, and answers for a neighborhood instead of a point; it is still a gradient.

        g = mean over n of dS/dx at x + e_n,    e_n ~ Normal(0, (noise * (max x - min x))^2)

        absolute:          max over channels c of |g_c|
        signed:            sum over channels of g_c
        input_x_gradient:  sum over channels of x_c * g_c   (x as the network takes it, 0 = mean image)

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        n_samples: noisy copies of each image.
        noise: standard deviation, as a share of the range of the preprocessed image.
        kind: "absolute", "signed" or "input_x_gradient".
        score: "logit" (before softmax) or "probability".
        seed: of the noise, the same for every image.
        progress: called with (samples done, samples in all).

    Returns:
        `Attribution` with values (N, H, W): score units per unit of the normalized input, or score units for
        "input_x_gradient"; never negative for "absolute".

    Raises:
        TargetError: the target is not a class of the network.
        ParameterError: unknown kind or score, fewer than one sample, negative noise.

    Cost: ``n_samples`` forward and backward passes an image, in batches that fit in memory.

    Example:
        >>> import torch
        >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> smoothgrad(linear, torch.ones(1, 1, 2, 2), target=1, n_samples=4).values.shape
        (1, 2, 2)

    References:
        Smilkov, Thorat, Kim, Viegas, Wattenberg: SmoothGrad: removing noise by adding noise, 2017,
        arXiv 1706.03825.
    """
    run = Run(
        "smoothgrad",
        model,
        images,
        target=target,
        score=score,
        parameters={"n_samples": n_samples, "noise": noise, "kind": kind, "seed": seed},
        unit=gradient_unit(kind, score),
        signed=kind != "absolute",
        n_steps=n_samples,
        jointly=True,
        progress=progress,
    )

    def maps_of(image: ScoredImage) -> Tensor:
        (mean,) = mean_powers(image, n_samples, noise, seed, powers=1)
        return per_pixel(mean, image.x, kind, len(image.size))

    return run.by_image(maps_of)
