"""Integrated gradients: the mean gradient on the way from a baseline to the image."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import ParameterError
from ..models import Model
from ..perturbation import Baseline, describe_baseline, hiding
from ..progress import Progress
from ..registry import register, tried_by
from ..results import Attribution
from ..targets import Score, Target
from .method_run import Run
from .scored import ScoredImage


@register
@tried_by("saliency")
def integrated_gradients(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    baseline: Baseline | list[Baseline] = "mean",
    n_steps: int = 50,
    score: Score = "logit",
    seed: int = 0,
    progress: Progress | None = None,
) -> Attribution:
    """What each pixel adds to the score on the way from a baseline to the image.

    A saturated score has no gradient at the image, but has one on the way there. The values add up to the
    difference between the scores of image and baseline, up to an error that is measured. The choice of the
    baseline is yours.

        value = sum over channels of (x - b) * mean over k of dS/dx at b + (k + 1/2) / n_steps * (x - b)

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        baseline: where the way begins: "mean" (0 after normalization), "blur", "noise", "black", "white", a
            number, an image; or a list of these, whose maps are averaged. A note says where the image's border is
            of one color and the baseline of another.
        n_steps: points on the way, in the middles of as many equal parts (midpoint rule).
        score: "logit" (before softmax) or "probability".
        seed: of the noise baseline.
        progress: called with (steps done, steps in all).

    Returns:
        `Attribution` with values (N, H, W) in score units, signed. ``provenance.measured["completeness_error"]``
        has for each map |sum of values - (S(x) - S(b))| / |S(x) - S(b)|, S(b) being the mean over the baselines.

    Raises:
        TargetError: the target is not a class of the network.
        ParameterError: fewer than one step, no baseline.

    Cost: ``n_steps`` forward and backward passes an image and baseline, in batches that fit in memory.

    Example:
        >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
        >>> _ = nn.init.ones_(linear[1].weight)
        >>> integrated_gradients(linear, torch.ones(1, 1, 2, 2), n_steps=3).values[0, 0]
        array([1., 1.], dtype=float32)

    References:
        Sundararajan, Taly, Yan: Axiomatic attribution for deep networks, 2017, arXiv 1703.01365.
    """
    baselines = baseline if isinstance(baseline, list) else [baseline]
    if not baselines:
        raise ParameterError("baseline=[]: expected at least one")
    run = Run(
        "integrated_gradients",
        model,
        images,
        target=target,
        score=score,
        parameters={
            "baseline": [describe_baseline(b) for b in baselines]
            if len(baselines) > 1
            else describe_baseline(baselines[0]),
            "n_steps": n_steps,
            "seed": seed if "noise" in [b for b in baselines if isinstance(b, str)] else None,
        },
        unit=f"share of the score ({score})",
        n_steps=n_steps * len(baselines),
        jointly=True,
        progress=progress,
    )
    hides = [
        hiding(run.model, b, preprocessed=run.inputs.preprocessed, seed=seed, notes=run.notes) for b in baselines
    ]

    def maps_of(image: ScoredImage) -> torch.Tensor:
        starts = [hide(image.x) for hide in hides]
        values = torch.stack([_along_the_line(image, start, n_steps) for start in starts]).mean(dim=0)
        with torch.no_grad():
            change = image.scores - image.scores_of(torch.stack(starts)).mean(dim=0)
        run.measure_completeness(values, change)
        return values

    return run.by_image(maps_of)


def _along_the_line(image: ScoredImage, start: torch.Tensor, n_steps: int) -> torch.Tensor:
    """The values (T, H, W) of an image for one baseline (C, H, W)."""
    way = image.x - start

    def total_of(first: int, end: int) -> torch.Tensor:
        shares = (torch.arange(first, end, device=way.device, dtype=way.dtype) + 0.5) / n_steps
        return image.gradients(start + shares.view(-1, *(1,) * way.ndim) * way).sum(dim=1)

    return (way * image.mean_over(n_steps, total_of)).sum(dim=1)
