"""LRP: the score, handed back layer by layer to each input in proportion to its contribution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from ..errors import ModelError
from ..execution import check_differentiable
from ..execution.folding import folded_batch_norm
from ..models import Model
from ..progress import Progress
from ..registry import register
from ..results import Attribution
from ..targets import Score, Target
from .backward_rules import (
    ACTIVATIONS,
    ELEMENTWISE,
    PRODUCTS,
    SIGMOIDS,
    WITHOUT_RULE,
    WITHOUT_RULE_OF_TWO,
    activation,
    followed,
    instead,
    plain,
    product,
)
from .method_run import Run
from .replaced_functions import Replacement, replaced
from .scored import ScoredBatch

Rule: TypeAlias = Literal["composite", "epsilon", "gamma", "z_plus"]

EPSILON, GAMMA = 1e-6, 0.25

_CONVOLUTIONS = (
    *(functional.conv1d, functional.conv2d, functional.conv3d),
    *(functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d),
)


@register
def lrp(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    rule: Rule = "composite",
    score: Score = "logit",
    progress: Progress | None = None,
) -> Attribution:
    """Where the score comes from: relevance handed back from layer to layer (layer-wise relevance propagation).

    The relevance of the output is the score. Each layer hands its relevance on to its inputs, to each in
    proportion to its contribution to the output. The map is smoother than a gradient, as small scattered
    contributions are outvoted on the way.

        R_i = sum over k of  part_ik / (sum over i of part_ik + part of the bias) * R_k

        epsilon:    part_ik = x_i w_ik
        z_plus:     part_ik = max(0, x_i w_ik), also of the bias
        gamma:      part_ik = x_i w_ik + 0.25 * those of the same sign as the output of k
        composite:  flat for the first layer, if that is a convolution: part_ik = 1, without a bias;
                    z_plus for the other convolutions, epsilon for dense layers

    The first layer is flat because no pixel value means "nothing there", as 0 does inside the network: with the
    other rules, pixels near the mean image would get no relevance. A dense first layer keeps epsilon, as flat
    would spread everything over the whole image. 1e-6 is added to the magnitude of each divisor.

    A batch norm right after a convolution is merged into it; any other one counts as a layer whose shift is a
    bias. An activation hands on its relevance unchanged. In a product with a sigmoid the sigmoid is a gate and
    held fixed; in other products each factor gets half. The scale of a layer norm is held fixed. In maximum
    pooling the largest input takes all; sums and means share in proportion to their parts. Other functions, like
    attention, keep their plain gradient, and a note says so.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        rule: "composite", or "epsilon", "gamma" or "z_plus" for every layer.
        score: "logit" (before softmax) or "probability".
        progress: called with (images done, images in all).

    Returns:
        `Attribution` with values (N, H, W) in score units, signed. ``provenance.measured["completeness_error"]``
        has for each map |sum of values - S(x)| / |S(x)|: the share that biases took or gave.

    Raises:
        TargetError: the target is not a class of the network.
        ParameterError: unknown rule or score.
        ModelError: a network in float16.

    Cost: two forward passes and one backward pass an image; with z_plus or gamma each layer is run three times.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
        >>> lrp(net, torch.ones(1, 1, 2, 2), target=1).values.shape
        (1, 2, 2)

    References:
        Bach, Binder, Montavon, Klauschen, Müller, Samek: On pixel-wise explanations for non-linear classifier
            decisions by layer-wise relevance propagation, 2015, PLoS ONE 10(7) (epsilon, z_plus).
        Montavon, Binder, Lapuschkin, Samek, Müller: Layer-wise relevance propagation: an overview, 2019 (gamma,
            rules by layer).
        Lapuschkin et al.: Unmasking Clever Hans predictors, 2019, arXiv 1902.10178 (flat).
    """
    run = Run(
        "lrp",
        model,
        images,
        target=target,
        score=score,
        parameters={"rule": rule},
        unit=f"share of the score ({score})",
        progress=progress,
    )

    if run.model.dtype == torch.float16:
        raise ModelError(
            f"{run.model.name} is in float16, whose numbers are too coarse for the relevance of a pixel: run "
            "LRP in float32 (module.float()) or bfloat16"
        )

    @contextmanager
    def ruled(x: torch.Tensor) -> Iterator[torch.Tensor]:
        even = torch.ones_like(x).requires_grad_()
        # Folding begins last, so that it sees each function first, and the rules see folded convolutions.
        with (
            replaced(run, _rules(rule, x, even, run.notes)),
            folded_batch_norm(run.model.module, lambda: _run_plainly(run.model, x)),
        ):
            yield even

    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        check_differentiable(batch.scores, batch.model.name)
        scores, inputs = batch.scores, (batch.leaf, batch.kept)
        values = torch.stack([_relevance(scores[:, t].sum(), inputs) for t in range(scores.shape[1])])
        run.measure_completeness(values, scores.detach().T)
        return values

    return run.by_batch(maps_of, keeping=ruled)


def _run_plainly(model: Model, x: torch.Tensor) -> None:
    with torch.no_grad():
        model.module(x.clone())


def _relevance(score: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """(n, H, W): input times gradient, at the image, and at the even input of a first layer that is flat."""
    gradients = torch.autograd.grad(score, inputs, retain_graph=True, allow_unused=True)
    parts = [(i * g).sum(dim=1) for i, g in zip(inputs, gradients, strict=True) if g is not None]
    return torch.stack(parts).sum(dim=0).detach()


def _rules(rule: Rule, x: torch.Tensor, even: torch.Tensor, notes: list[str]) -> dict[Any, Replacement]:
    """Replacements of the functions of a network by ones that hand relevance on.

    Relevance is input times gradient: R = x * g and R_k = z_k * g_k. Where the ``parts`` of a layer add up to z',
    the gradient of z' * (z / z') with the second factor fixed is R_k / z' for each of them.
    """
    first = rule == "composite"
    gates: list[Any] = []  # nodes of the autograd graph

    def layer(func: Any, input: Any, weight: Any, bias: Any = None, *args: Any, **options: Any) -> Any:
        nonlocal first
        if not followed(input):
            return func(input, weight, bias, *args, **options)

        def linear(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor:
            out: torch.Tensor = func(x, w, b, *args, **options)
            return out

        convolution, is_first, first = func in _CONVOLUTIONS, first, False
        w = weight.detach()
        if is_first and convolution:
            z, parts = linear(input, w, bias), linear(_even_in(input, x, even), torch.ones_like(w), None)
        else:
            composite: Rule = "z_plus" if convolution else "epsilon"
            z, parts = _parts(composite if rule == "composite" else rule, linear, input, w, bias)
        return instead(z, _shared(parts, z))

    def gate(func: Any, *args: Any, **options: Any) -> Any:
        out = activation(_handed_on)(func, *args, **options)
        if followed(out):
            gates.append(out.grad_fn)
        return out

    def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if _comes_from(b, gates):
            return a * b.detach()
        if _comes_from(a, gates):
            return a.detach() * b
        return (a * b.detach() + a.detach() * b) / 2

    return (
        dict.fromkeys((*WITHOUT_RULE, *ELEMENTWISE), plain(notes))
        | dict.fromkeys(WITHOUT_RULE_OF_TWO, plain(notes, 2))
        | dict.fromkeys((*_CONVOLUTIONS, functional.linear), layer)
        | dict.fromkeys(ACTIVATIONS, activation(_handed_on))
        | dict.fromkeys(SIGMOIDS, gate)
        | dict.fromkeys(PRODUCTS, product(multiply))
        | {functional.layer_norm: _layer_norm}
    )


def _shared(parts: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """``parts``, with a gradient that turns the relevance of z into theirs."""
    fixed = parts.detach()
    return parts * (z.detach() / (fixed + torch.where(fixed < 0, -EPSILON, EPSILON)))


def _handed_on(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """x, with the gradient y / x, which turns the relevance of y = f(x) into the same relevance of x."""
    fixed = x.detach()
    return x * (y.detach() / torch.where(fixed.abs() < EPSILON, EPSILON, fixed))


def _parts(
    rule: Rule, linear: Any, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output z of a layer, and the sum of the parts that the rule counts."""
    z = linear(x, w, b)
    if rule == "epsilon":
        return z, z
    positive = linear(x.clamp_min(0), w.clamp_min(0), None if b is None else b.clamp_min(0))
    positive = positive + linear(x.clamp_max(0), w.clamp_max(0), None)
    if rule == "z_plus":
        return z, positive
    return z, z + GAMMA * torch.where(z > 0, positive, z - positive)


def _even_in(a: torch.Tensor, x: torch.Tensor, even: torch.Tensor) -> torch.Tensor:
    """An image of ones as it arrives at ``a``: still 1, and 0 in the padding.

    The way from x to ``a`` may pad, normalize or resize. With its Jacobian J this is J even / (J even), the
    divisor held fixed. A backward pass gives J' v; its own gradient with respect to v is J.
    """
    v = torch.zeros_like(a, requires_grad=True)
    (back,) = torch.autograd.grad(a, x, v, create_graph=True)
    (image,) = torch.autograd.grad(back, v, even, create_graph=True)
    return image / torch.where(image == 0, 1, image).detach()


def _comes_from(tensor: torch.Tensor, nodes: list[Any]) -> bool:
    """Whether a tensor is the output of one of these nodes, reshaped, repeated, or changed by constants only."""
    node: Any = tensor.grad_fn
    while node is not None and node not in nodes and node.name() != "_InsteadBackward":
        before = [n for n, _ in node.next_functions if n is not None]
        node = before[0] if len(before) == 1 else None
    return node in nodes


def _layer_norm(func: Any, input: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Layer norm with its scale held fixed: a difference times constants."""
    y = func(input, shape, weight, bias, eps)
    if not followed(input):
        return y
    dims = tuple(range(-len(shape), 0))
    var, mean = torch.var_mean(input, dims, correction=0, keepdim=True)
    way = (input - mean) * (var.detach() + eps).rsqrt()
    return instead(y, way if weight is None else way * weight)
