"""LRP: the score, handed back layer by layer to each input in proportion to its contribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from ..execution import check_differentiable
from ..models import Layer, Model
from ..progress import Progress
from ..registry import register
from ..results import Attribution
from ..targets import Score, Target
from .method_run import Run
from .relevance_rules import Rule
from .relevance_runs import Kept, check_pass, chosen_layers, per_channel, relevance_through, ruled
from .scored import ScoredBatch


@register
def lrp(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    rule: Rule = "composite",
    conditions: Mapping[str, Sequence[int]] | None = None,
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
    pooling the largest input takes all; sums and means share in proportion to their parts. In attention, each
    factor of a product of two matrices gets half, and a softmax y of x is expanded at the image, where it hands on
    R_i = x_i (R_yi - y_i sum of R_y) (the rules of AttnLRP). Other functions, like group norm, keep their plain
    gradient, and a note says so.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        rule: "composite", or "epsilon", "gamma" or "z_plus" for every layer.
        conditions: layers by name, each with its channels that may hand relevance on; all others keep theirs, and
            so does what flows past these layers. The map then shows where the part of the score comes from that
            these channels carry (concept relevance propagation).
        score: "logit" (before softmax) or "probability".
        progress: called with (images done, images in all).

    Returns:
        `Attribution` with values (N, H, W) in score units, signed. ``provenance.measured["completeness_error"]``
        has for each map |sum of values - S(x)| / |S(x)|: the share that biases took or gave. With conditions the
        relevance of the chosen channels stands in place of S(x), and ``measured["share_of_score"]`` is what that
        is of S(x).

    Raises:
        TargetError: the target is not a class of the network.
        ParameterError: unknown rule or score; a condition without channels, or with one that is not there.
        LayerError: a condition on a layer that is not there, or at which no relevance arrives.
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
        Achtibat et al.: AttnLRP: attention-aware layer-wise relevance propagation for transformers, 2024, arXiv
            2402.05602 (attention, layer norm).
        Achtibat et al.: From "where" to "what": towards human-understandable explanations through concept
            relevance propagation, 2022, arXiv 2206.03208 (conditions).
    """
    run = Run(
        "lrp",
        model,
        images,
        target=target,
        score=score,
        parameters={"rule": rule, "conditions": conditions},
        unit=f"share of the score ({score})",
        progress=progress,
    )
    check_pass(run)
    chosen = chosen_layers(run, conditions or {})

    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        check_differentiable(batch.scores, batch.model.name)
        scores, inputs = batch.scores, (batch.leaf, batch.kept.even)
        if not chosen:
            values = torch.stack([_relevance(scores[:, t].sum(), inputs) for t in range(scores.shape[1])])
            run.measure_completeness(values, scores.detach().T)
            return values
        parts = [_conditional(scores[:, t].sum(), batch.kept, chosen, inputs) for t in range(scores.shape[1])]
        values, allowed = (torch.stack(part) for part in zip(*parts, strict=True))
        run.measure_completeness(values, allowed)
        shares = (allowed / scores.detach().T).T.flatten()  # those of an image follow one another, as its maps do
        run.measured.setdefault("share_of_score", []).extend(shares.tolist())
        return values

    return run.by_batch(maps_of, keeping=partial(ruled, run, rule, layers=tuple(chosen)), folds=False)


def _conditional(
    score: torch.Tensor, kept: Kept, chosen: Mapping[Layer, Sequence[int]], inputs: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The map (n, H, W) of what the chosen channels hand on, and how much relevance (n,) that is."""
    gradient, output = relevance_through(score, kept, chosen)
    first = next(layer for layer in chosen if kept.outputs[layer.name] is output)
    return _relevance(output, inputs, gradient), per_channel((gradient * output).detach(), first).sum(dim=1)


def _relevance(
    score: torch.Tensor, inputs: tuple[torch.Tensor, ...], given: torch.Tensor | None = None
) -> torch.Tensor:
    """(n, H, W): input times gradient, at the image, and at the even input of a first layer that is flat."""
    gradients = torch.autograd.grad(score, inputs, given, retain_graph=True, allow_unused=True)
    parts = [(i * g).sum(dim=1) for i, g in zip(inputs, gradients, strict=True) if g is not None]
    return torch.stack(parts).sum(dim=0).detach()
