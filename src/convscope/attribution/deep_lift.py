"""DeepLIFT: each pixel's difference from a baseline, and its contribution to the difference in score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..errors import ModelError
from ..execution import check_differentiable
from ..models import Model
from ..perturbation import Baseline, describe_baseline, hiding
from ..progress import Progress
from ..registry import register
from ..results import Attribution
from ..targets import Score, Target
from .backward_rules import (
    ACTIVATIONS,
    ATTENTION,
    ELEMENTWISE,
    MATRIX_PRODUCTS,
    PRODUCTS,
    QUOTIENTS,
    SOFTMAX,
    WITHOUT_RULE,
    followed,
    instead,
    plain,
    product,
)
from .method_run import Run
from .replaced_functions import Replacement, replaced
from .scored import ScoredImage, gradients_of

# Maximum pooling, with the number of sides that it pools.
_MAXIMA: dict[Any, int] = {
    getattr(functional, f"{name}{n}d"): n for name in ("max_pool", "adaptive_max_pool") for n in (1, 2, 3)
}
SMALL = 1e-6  # a quotient of float32 differences smaller than this is mostly rounding


@register
def deep_lift(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    baseline: Baseline = "mean",
    score: Score = "logit",
    seed: int = 0,
    progress: Progress | None = None,
) -> Attribution:
    """What each pixel's difference from a baseline adds to the score (DeepLIFT, rescale rule).

    Image and baseline run through the network side by side. At each activation the slope is that of the straight
    line between the two, not the one at the image; so a unit that is saturated, or closed in one of the two,
    still counts. One pass adds up exactly, where `integrated_gradients` needs many steps. But a product of such
    slopes over many layers is not the mean slope between image and baseline, and the two methods differ.

        value = sum over channels of (x - b) * m,   m = dS/dx by the chain rule with other slopes:

        activation f:   (f(x) - f(b)) / (x - b), or f'(x) where |x - b| < 1e-6
        maximum:        what the image's largest input gains over the baseline's maximum, and what is lost where
                        the baseline's largest was, each divided by the difference at that position
        product u * v:  (v(x) + v(b)) / 2 for u, (u(x) + u(b)) / 2 for v

    The values add up to the difference between the scores of image and baseline. Other functions, like attention,
    keep their plain gradient; a note says so, the values no longer add up, and the error is measured. Layer norm
    is treated as a product with an activation of its variance.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        baseline: what the image is compared with: "mean" (0 after normalization), "blur", "noise", "black",
            "white", an image, or a number: 0 (black) to 1 (white) for pictures, in normalized units for a
            preprocessed tensor. A note says where the image's border is of one color and the baseline of another.
        score: "logit" (before softmax) or "probability".
        seed: of the noise baseline.
        progress: called with (images done, images in all).

    Returns:
        `Attribution` with values (N, H, W) in score units, signed. ``provenance.measured["completeness_error"]``
        has for each map |sum of values - (S(x) - S(b))| / |S(x) - S(b)|.

    Raises:
        TargetError: the target is not a class of the network.
        ParameterError: not a baseline, unknown score.

    Cost: three forward passes and two backward passes an image.

    Example:
        >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
        >>> _ = nn.init.ones_(linear[1].weight)
        >>> deep_lift(linear, torch.ones(1, 1, 2, 2), baseline=0.5).values[0, 0]
        array([0.5, 0.5], dtype=float32)

    References:
        Shrikumar, Greenside, Kundaje: Learning important features through propagating activation differences,
            2017, arXiv 1704.02685.
        Lundberg, Lee: A unified approach to interpreting model predictions, 2017, arXiv 1705.07874 (maxima and
            products).
    """
    run = Run(
        "deep_lift",
        model,
        images,
        target=target,
        score=score,
        parameters={
            "baseline": describe_baseline(baseline),
            "seed": seed if isinstance(baseline, str) and baseline == "noise" else None,
        },
        unit=f"share of the score ({score})",
        progress=progress,
    )
    if not run.structure.rows_independent:
        raise ModelError(
            f"{run.model.name} mixes the images of a batch, and DeepLIFT runs image and baseline in one batch: "
            "use integrated_gradients or lrp"
        )
    hide = hiding(run.model, baseline, preprocessed=run.inputs.preprocessed, seed=seed, notes=run.notes)
    rules = _rules(run.notes)

    def maps_of(image: ScoredImage) -> torch.Tensor:
        rows = torch.stack([image.x, hide(image.x)]).requires_grad_()
        with replaced(run, rules):
            scores = image.scores_of(rows)
        check_differentiable(scores, run.model.name)
        multipliers = gradients_of(scores[:1], rows)[:, 0]
        x, b = rows.detach()
        values: torch.Tensor = ((x - b) * multipliers).sum(dim=1)
        run.measure_completeness(values, (scores[0] - scores[1]).detach())
        return values

    return run.by_image(maps_of, fuse=False)  # image and baseline run once


def _rules(notes: list[str]) -> dict[Any, Replacement]:
    """Replacements of all functions that are not sums, with the slope from baseline to image.

    Rows of a batch are the image and the baseline.
    """
    return (
        dict.fromkeys((*WITHOUT_RULE, *SOFTMAX, *ATTENTION, functional.rms_norm), plain(notes))
        | dict.fromkeys((*MATRIX_PRODUCTS, *QUOTIENTS), plain(notes, 2))
        | dict.fromkeys((*ACTIVATIONS, *ELEMENTWISE), _activation)
        | dict.fromkeys(PRODUCTS, product(_at_the_means))
        | dict.fromkeys(_MAXIMA, _maximum)
        | {functional.layer_norm: _layer_norm}
    )


def _activation(func: Any, input: torch.Tensor, *args: Any, **options: Any) -> Any:
    """y = f(x), element by element, with the slope from baseline to image; in place where f is."""
    if not (followed(input) and _in_pairs(input)):
        return func(input, *args, **options)
    return _AlongTheLine.apply(input, lambda x: func(x, *args, **options))


class _AlongTheLine(torch.autograd.Function):
    """y = f(x), with the slope (f(x) - f(b)) / (x - b) in both rows, and that of f where x and b are equal."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, f: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        change = _difference(x)
        small = change.abs() < SMALL
        own = _slope_of(f, x) if small.any() else None
        y = f(x)
        if y is x:
            ctx.mark_dirty(x)
        if own is None:
            slope = _difference(y).div_(change)[None]
        else:
            slope = _difference(y).div_(change.masked_fill_(small, 1))
            slope = torch.where(small, _in_two(own), slope)
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (slope,) = ctx.saved_tensors  # (2, n, ...) for images and baselines, or (1, n, ...) for both
        return (_in_two(gradients[0]) * slope).flatten(0, 1), None


def _slope_of(f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The derivative of an elementwise function."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(f(leaf.clone()).sum(), leaf)[0]


def _along_the_line(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """y = f(x), with the slope (f(x) - f(b)) / (x - b) in both rows."""
    if not _in_pairs(x):
        return y
    change = _difference(x)
    small = change.abs() < SMALL
    slope = _difference(y) / torch.where(small, 1, change)
    return torch.where(_both(small), y, x * _both(slope))


def _at_the_means(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """u * v, with the mean of the other factor as the slope of each."""
    if not (_in_pairs(u) and _in_pairs(v)):
        return u * v
    return u * _both(_mean(v)) + _both(_mean(u)) * v


def _maximum(func: Any, input: Any, *args: Any, **options: Any) -> Any:
    """Maximum pooling: the way up to the greater maximum goes to the image's winner, the rest to the other one."""
    if not followed(input):
        return func(input, *args, **options)
    y, winners = func(input, *args, **(options | {"return_indices": True}))
    first = -_MAXIMA[func]  # of the dimensions that winners are numbers in
    image, base = y.detach().chunk(2)
    greater = torch.maximum(image, base)
    same = _both(winners[: len(image)] == winners[len(image) :]).flatten(first)
    change = _both(_difference(input)).flatten(first)
    way = torch.zeros_like(y)
    for winner, part in zip(winners.chunk(2), (greater - base, image - greater), strict=True):
        at = _both(winner).flatten(first)
        there = change.gather(-1, at)
        share = torch.where(there.abs() < SMALL, same / 2, _both(part).flatten(first) / there)
        way = way + (input.flatten(first).gather(-1, at) * share).view_as(y)
    return instead(y, way)


def _layer_norm(func: Any, input: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Layer norm, as the centered input times an activation of its variance."""
    y = func(input, shape, weight, bias, eps)
    if not followed(input):
        return y
    dims = tuple(range(-len(shape), 0))
    centered = input - input.mean(dims, keepdim=True)
    squares = instead(centered.square(), _at_the_means(centered, centered))
    var = squares.mean(dims, keepdim=True)
    scale = (var + eps).rsqrt()
    way = _at_the_means(centered, instead(scale, _along_the_line(var, scale)))
    return instead(y, way if weight is None else way * weight)


def _in_pairs(rows: torch.Tensor) -> bool:
    """Whether these can be rows of images and as many baselines; otherwise the plain gradient is taken."""
    return rows.ndim > 0 and len(rows) % 2 == 0


def _difference(rows: torch.Tensor) -> torch.Tensor:
    image, base = rows.detach().chunk(2)
    return image - base


def _in_two(rows: torch.Tensor) -> torch.Tensor:
    """Rows (2n, ...) as (2, n, ...): of images and of baselines."""
    return rows.view(2, len(rows) // 2, *rows.shape[1:])


def _mean(rows: torch.Tensor) -> torch.Tensor:
    image, base = rows.detach().chunk(2)
    return (image + base) / 2


def _both(one: torch.Tensor) -> torch.Tensor:
    """The same values for both rows."""
    return torch.cat([one, one])
