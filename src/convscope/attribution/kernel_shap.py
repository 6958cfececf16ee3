"""Kernel SHAP: the Shapley values of superpixels, found by weighted regression."""

from __future__ import annotations

import math
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


@register
@tried_by(None, needs_pictures=True)
def kernel_shap(
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
    """The Shapley value of each superpixel: its share of the score, fair by four axioms.

    What a superpixel adds to the score depends on which others are already shown. Its Shapley value is what it
    adds on average over all orders of showing them. The values add up to the difference between the scores of the
    image and of the baseline.

        value_j = mean over orders of [S(those before j, and j) - S(those before j)]
                = the w_j of  argmin over w of  sum over z of k(z) * (S(z) - S(0) - w . z)^2
                  with sum of w = S(1) - S(0),    k(z) = (D - 1) / (binomial(D, |z|) * |z| * (D - |z|))

    z in {0, 1}^D says which of D superpixels are shown; S(z) is the score of the image with the baseline in place
    of the others. With at most ``n_samples`` different z, all are used, and the values are exact. Otherwise z are
    drawn in proportion to k, each together with its opposite 1 - z; then the values are exact for any score in
    which superpixels act alone or in pairs.

    Every pixel has the value of its superpixel. Positive: it supports the target.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        n_samples: the largest number of z, the whole image and the baseline included; give at least twice as many
            as superpixels.
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
        ``provenance.measured`` has for each map "exact", whether all z were used, and "standard_error", the
        sampling error of a superpixel's value (root mean square over superpixels).

    Raises:
        TargetError: the target is not a class of the network.
        ParameterError: fewer than 4 samples, a superpixel larger than the image.

    Cost: ``n_samples`` + 1 forward passes an image, in batches that fit in memory, and one regression.

    Example:
        >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 1, bias=False))
        >>> _ = nn.init.ones_(linear[1].weight)
        >>> found = kernel_shap(linear, torch.ones(1, 1, 8, 8), superpixel=4)
        >>> found.values[0, 0]  # the number of pixels of each superpixel
        array([25., 25., 25., 25., 25., 15., 15., 15.], dtype=float32)
        >>> found.provenance.measured["exact"]
        [True]

    References:
        Lundberg, Lee: A unified approach to interpreting model predictions, 2017, arXiv 1705.07874.
        Covert, Lee: Improving KernelSHAP: practical Shapley value estimation via linear regression, 2021,
        arXiv 2012.01536 (pairs of opposites).
    """
    as_count(n_samples, "n_samples", 4)
    run = Run(
        "kernel_shap",
        model,
        images,
        target=target,
        score=score,
        parameters={"n_samples": n_samples, "baseline": describe_baseline(baseline), "seed": seed},
        unit=f"the superpixel's share of the score ({score})",
        gradients="none",
        n_steps=n_samples,
        progress=progress,
    )
    exact = run.measured["exact"] = []
    errors = run.measured["standard_error"] = []
    remark = Remark(run.notes)

    def is_exact(n_superpixels: int) -> bool:
        return n_superpixels <= math.log2(n_samples)

    def coalitions_of(n_superpixels: int) -> torch.Tensor:
        if is_exact(n_superpixels):
            shown = every_coalition(n_superpixels)
        else:
            shown = random_coalitions(n_samples // 2, n_superpixels, seed)
        return torch.cat([shown, ~shown])

    def values_of(coalitions: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        (shown, _), (with_shown, with_hidden) = coalitions.chunk(2), scores.chunk(2)
        n = shown.shape[1]
        weights = shapley_kernel(shown[1:]) if is_exact(n) else with_shown.new_ones(len(shown) - 1)
        values, error, is_determined = shapley_values(shown, with_shown, with_hidden, weights)
        exact.extend([is_exact(n)] * len(values))
        errors.extend([0.0] * len(values) if is_exact(n) else [float(f"{e:.2g}") for e in error.tolist()])
        if not is_determined:
            remark.say(
                f"n_samples={n_samples}: too few to settle the values of {n} superpixels; of the values that "
                f"fit, the most even ones were taken. Give {2 * n} or more"
            )
        return values

    return superpixel_maps(run, superpixel, baseline, seed, coalitions_of, values_of)


def every_coalition(n_superpixels: int) -> torch.Tensor:
    """One of each pair of opposites in {0, 1}^D, (2^(D - 1), D) of booleans; the first one shows everything."""
    numbers = torch.arange(2 ** (n_superpixels - 1), device="cpu")
    hidden = (numbers[:, None] >> torch.arange(n_superpixels, device="cpu")) & 1  # the last one is never hidden
    return hidden == 0


def random_coalitions(n: int, n_superpixels: int, seed: int) -> torch.Tensor:
    """The coalition of all, and n - 1 drawn in proportion to the Shapley kernel, (n, D) of booleans."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.arange(1, n_superpixels, device="cpu")
    # For all coalitions of a size together the binomial cancels.
    weights = 1 / (sizes * (n_superpixels - sizes)).double()
    drawn = sizes[torch.multinomial(weights, n - 1, replacement=True, generator=generator)]
    order = torch.rand((n - 1, n_superpixels), generator=generator, dtype=torch.float32, device="cpu").argsort(
        dim=1
    )
    everything = torch.ones((1, n_superpixels), dtype=torch.bool, device="cpu")
    return torch.cat([everything, order < drawn[:, None]])  # the first ones of a random order


def shapley_kernel(shown: torch.Tensor) -> torch.Tensor:
    """The weights k(z) of coalitions (M, D), none of them empty or full."""
    n = shown.shape[1]
    weights = [(n - 1) / (math.comb(n, size) * size * (n - size)) for size in range(1, n)]
    return torch.tensor(weights, dtype=torch.float64, device="cpu")[shown.sum(dim=1) - 1]


def shapley_values(
    shown: torch.Tensor, scores: torch.Tensor, opposite: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Solve the regression for pairs of coalitions and their opposites.

    Substituting w = (S(1) - S(0)) / D + u removes the constraint: u has to sum to 0, and the shortest
    least-squares solution does, as every row of the design does. The two rows of a pair differ only in sign, so
    that half the difference of their scores is all they tell.

    Args:
        shown: (M, D) of booleans, the first of which shows everything.
        scores: (M, T).
        opposite: (M, T), the scores where shown and hidden are exchanged.
        weights: (M - 1,), of all but the first.

    Returns:
        Values (T, D); their standard error (T,), root mean square over superpixels; and whether the pairs were
        enough to determine the values.
    """
    z = shown.double()
    share = z.mean(dim=1, keepdim=True)
    change = scores[0] - opposite[0]
    rest = (scores - opposite) / 2 - (share - 0.5) * change
    root = weights.sqrt()[:, None]
    design, rest = root * (z - share)[1:], root * rest[1:]
    inverse = torch.linalg.pinv(design, rtol=1e-10)
    u = inverse @ rest
    rank = round(float((inverse.T * design).sum()))
    # This standard error holds for any distribution of the residuals (White 1980).
    variance = inverse**2 @ (rest - design @ u) ** 2 * len(rest) / max(len(rest) - rank, 1)
    return (change / z.shape[1] + u).T, variance.mean(dim=0).sqrt(), rank == z.shape[1] - 1
