"""LIME: a linear model of the score, by which superpixels are shown."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..checks import Pair, as_count
from ..models import Model
from ..perturbation import Baseline, describe_baseline
from ..progress import Progress
from ..registry import register, tried_by
from ..results import Attribution, Remark
from ..targets import Score, Target
from .method_run import Run
from .superpixel_coalitions import superpixel_maps

KERNEL_WIDTH = 0.25  # as in the lime package
RIDGE = 1.0  # the penalty on squared coefficients, as there
POOR_FIT = 0.5


@register
@tried_by(None, needs_pictures=True)
def lime(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    n_samples: int = 1000,
    superpixel: int | Pair | None = None,
    baseline: Baseline = "mean",
    score: Score = "logit",
    seed: int = 0,
    progress: Progress | None = None,
) -> Attribution:
    """How much each superpixel adds to the score, in a linear model that stands in for the network.

    The image is cut into superpixels, and many times a coin decides for each of them whether it is shown. A
    linear model is fitted to the scores; its coefficients are the map. How well it fits is measured: where it
    does not, the map describes the linear model and not the network.

        values = argmin over w, c of  sum over z of k(z) * (S(z) - c - w . z)^2 + |w|^2
        k(z) = exp(-(1 - cos(z, 1))^2 / 0.25^2)

    z in {0, 1}^D says which of D superpixels are shown; S(z) is the score of the image with the baseline in place
    of the others. Every pixel has the value w of its superpixel. Positive: it supports the target.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        n_samples: the number of z; the first one shows everything, the others show each superpixel with
            probability 1/2.
        superpixel: about how large one is in pixels, one number or (height, width); by default 32, or a quarter
            of the input's side where that is less.
        baseline: what replaces hidden pixels: "mean" (0 after normalization), "blur", "noise", "black", "white",
            an image, or a number: 0 (black) to 1 (white) for pictures, in normalized units for a preprocessed
            tensor. A note says where the image's border is of one color and the baseline of another.
        score: "logit" (before softmax) or "probability".
        seed: of the samples, the same for every image, and of the noise baseline.
        progress: called with (samples done, samples in all).

    Returns:
        `Attribution` with values (N, H, W) in score units, signed, the same all over a superpixel.
        ``provenance.measured["fit"]`` has for each map the weighted R^2 of the linear model: 1 where it agrees
        with the network, 0 where it is no better than a constant. A note says where it is below 0.5.

    Raises:
        TargetError: the target is not a class of the network.
        ParameterError: fewer than 2 samples, a superpixel larger than the image.

    Cost: ``n_samples`` + 1 forward passes an image, in batches that fit in memory, and one regression.

    Example:
        >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 1, bias=False))
        >>> _ = nn.init.ones_(linear[1].weight)
        >>> found = lime(linear, torch.ones(1, 1, 8, 8), superpixel=4)
        >>> found.values[0, 0].round(1)  # superpixels of 25 and 15 pixels, shrunk by the penalty
        array([24.5, 24.5, 24.5, 24.5, 24.5, 14.6, 14.6, 14.6], dtype=float32)
        >>> found.provenance.measured["fit"]
        [0.999]

    References:
        Ribeiro, Singh, Guestrin: "Why should I trust you?": explaining the predictions of any classifier, 2016,
        arXiv 1602.04938.
    """
    as_count(n_samples, "n_samples", 2)
    run = Run(
        "lime",
        model,
        images,
        target=target,
        score=score,
        parameters={"n_samples": n_samples, "baseline": describe_baseline(baseline), "seed": seed},
        unit=f"what the superpixel adds to the score ({score})",
        gradients="none",
        n_steps=n_samples,
        progress=progress,
    )
    fits = run.measured["fit"] = []
    remark = Remark(run.notes)

    def values_of(shown: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        coefficients, fit = ridge(shown.double(), scores, proximity(shown))
        fits.extend(round(r2, 3) for r2 in fit.tolist())
        n_poor = sum(r2 < POOR_FIT for r2 in fits)
        if n_poor:
            remark.say(
                f"{n_poor} of {len(fits)} maps are of linear models with an R^2 below {POOR_FIT} (measured "
                "'fit'): they say little about the network"
            )
        return coefficients

    def coalitions_of(n_superpixels: int) -> torch.Tensor:
        return random_coalitions(n_samples, n_superpixels, seed)

    return superpixel_maps(run, superpixel, baseline, seed, coalitions_of, values_of)


def random_coalitions(n_samples: int, n_superpixels: int, seed: int) -> torch.Tensor:
    """Which superpixels are shown, (n_samples, D) booleans: first all of them, then each with probability 1/2."""
    generator = torch.Generator().manual_seed(seed)
    shown = torch.rand((n_samples, n_superpixels), generator=generator, dtype=torch.float32, device="cpu") < 0.5
    shown[0] = True
    return shown


def proximity(shown: torch.Tensor) -> torch.Tensor:
    """The weight of each coalition (M, D), by its cosine distance from the whole image: (M,)."""
    cosine = shown.double().mean(dim=1).sqrt()  # z . 1 / (|z| |1|), for zeros and ones
    return torch.exp(-(((1 - cosine) / KERNEL_WIDTH) ** 2))


def ridge(shown: torch.Tensor, scores: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The coefficients (T, D) of the linear models of scores (M, T), and their weighted R^2 (T,)."""
    from sklearn.linear_model import Ridge

    change = scores - scores[0]  # the intercept takes up the rest; exactly zero where the score is constant
    found = Ridge(alpha=RIDGE).fit(shown.numpy(), change.numpy(), sample_weight=weights.numpy())
    predicted = torch.from_numpy(found.predict(shown.numpy())).reshape(change.shape)
    coefficients = torch.from_numpy(found.coef_).reshape(change.shape[1], -1)
    mean = (weights @ change) / weights.sum()
    rest, spread = weights @ (change - predicted) ** 2, weights @ (change - mean) ** 2
    return coefficients, torch.where(spread > 0, 1 - rest / spread, 1.0)
