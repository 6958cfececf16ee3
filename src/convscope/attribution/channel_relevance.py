"""How much of the score each channel of a layer carries, by LRP."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from ..arguments import checks_arguments
from ..errors import Interrupted, LayerError
from ..execution import check_differentiable
from ..models import Model
from ..progress import Progress
from ..results import Array, ChannelRelevance
from ..targets import Score, Target
from .method_run import Run
from .relevance_rules import Rule
from .relevance_runs import check_pass, per_channel, ruled, ruled_layer
from .scored import ScoredBatch


@checks_arguments
def channel_relevance(
    model: Model | nn.Module,
    images: Any,
    *,
    layer: str,
    target: Target = None,
    rule: Rule = "composite",
    score: Score = "logit",
    progress: Progress | None = None,
) -> ChannelRelevance:
    """How much of the score passes through each channel of a layer, in each image.

    An activation says that a channel fires, its relevance that the score makes use of it. Images in which a
    channel is relevant for a class show what the network uses it for there; those in which it fires most may show
    other things.

        R_c = sum over the places p of the layer of R_cp

    R_cp is the relevance that `lrp` hands on to the place p of channel c.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        layer: name of a layer; see `Model.layers`.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        rule: as of `lrp`.
        score: "logit" (before softmax) or "probability".
        progress: called with (images done, images in all).

    Returns:
        `ChannelRelevance` with values (N, C) in score units, signed; those of an image add up to the score, but
        for what biases behind the layer take or give and what flows past it. ``top(channel, k)`` names the images
        in which a channel carries most.

    Raises:
        LayerError: no such layer, or one at which no relevance arrives.
        TargetError: the target is not a class of the network.
        ParameterError: unknown rule or score.
        Interrupted: on Ctrl-C, with the images finished so far.

    Cost: two forward passes and one backward pass an image; with z_plus or gamma each layer is run three times.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
        >>> channel_relevance(net, torch.ones(3, 1, 2, 2), layer="1", target=1).values.shape
        (3, 2)

    References:
        Achtibat et al.: From "where" to "what": towards human-understandable explanations through concept
            relevance propagation, 2022, arXiv 2206.03208 (relevance maximization).
    """
    unit = f"share of the score ({score})"
    options: dict[str, Any] = {"parameters": {"layer": layer, "rule": rule}, "unit": unit, "progress": progress}
    run = Run("channel_relevance", model, images, target=target, score=score, **options)
    check_pass(run)
    place = ruled_layer(run, layer)
    values: list[Array] = []
    scores: list[Array] = []
    names: list[str] = []
    targets: list[str] = []

    def add(batch: ScoredBatch) -> None:
        check_differentiable(batch.scores, batch.model.name)
        output = batch.kept.outputs[place.name]
        each = []
        for t in range(batch.scores.shape[1]):
            total = batch.scores[:, t].sum()
            (gradient,) = torch.autograd.grad(total, output, retain_graph=True, allow_unused=True)
            if gradient is None:
                raise LayerError(f"no relevance arrives at layer {layer!r}: the score does not depend on it")
            each.append(per_channel(gradient * output, place).detach())
        values.append(torch.stack(each, dim=1).flatten(0, 1).float().cpu().numpy())
        scores.append(batch.scores.detach().flatten().float().cpu().numpy())
        names.extend(name for name in batch.names for _ in each)
        targets.extend(batch.targets.names)

    def result(*notes: str) -> ChannelRelevance:
        return ChannelRelevance(
            values=np.concatenate(values),
            layer=layer,
            targets=tuple(targets),
            scores=np.concatenate(scores),
            names=tuple(names),
            provenance=run.provenance(*notes),
        )

    try:
        run.each_batch(add, keeping=partial(ruled, run, rule, layers=(place,)), folds=False)
    except KeyboardInterrupt:
        if not values:
            raise
        raise Interrupted(result(f"interrupted after {len(names)} of {len(run.inputs)} images")) from None
    return result()
