"""A pass of LRP: functions by their rules, and the outputs of layers at which relevance is seen or cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch

from ..checks import shown
from ..errors import LayerError, ModelError, ParameterError
from ..execution import kept_outputs, place_of
from ..execution.folding import folded_batch_norm
from ..execution.one_pass import known_chains
from ..models import Layer, Model
from .method_run import Run
from .relevance_rules import Rule, replacements_for
from .replaced_functions import replaced


@dataclass(frozen=True)
class Kept:
    """What a pass leaves behind: the image of ones, and layers' outputs in the order in which they ran."""

    even: torch.Tensor
    outputs: dict[str, torch.Tensor] = field(default_factory=dict)


def check_pass(run: Run) -> None:
    """`ModelError` or `ImageError` where the rules of LRP do not fit."""
    run.inputs.need_pictures(run.method)  # batch norms are folded into convolutions of pictures alone
    if run.model.dtype == torch.float16:
        raise ModelError(
            f"{run.model.name} is in float16, whose numbers are too coarse for the relevance of a pixel: run "
            "LRP in float32 (module.float()) or bfloat16"
        )


@contextmanager
def ruled(run: Run, rule: Rule, x: torch.Tensor, layers: Sequence[Layer] = ()) -> Iterator[Kept]:
    """For one pass of the network from images x: its functions hand relevance on; the layers' outputs are kept."""
    kept = Kept(torch.ones_like(x).requires_grad_())
    module, names = run.model.module, [layer.name for layer in layers]
    folding = (
        nullcontext() if known_chains(module) else folded_batch_norm(module, lambda: _run_plainly(run.model, x))
    )
    rules = replacements_for(rule, x, kept.even, run.notes)
    with replaced(run, rules), folding:  # first, as nothing is folded in a network with hooks
        with kept_outputs(module, names) as outputs:
            yield kept
        kept.outputs.update(outputs)
        for name in names:
            if name not in outputs:
                raise LayerError(f"layer {name!r} did not run on these images; name one that does")


def _run_plainly(model: Model, x: torch.Tensor) -> None:
    with torch.no_grad():
        model.module(x.clone())


def chosen_layers(run: Run, conditions: Mapping[str, Sequence[int]]) -> dict[Layer, list[int]]:
    """The layers that conditions name, each with its channels; an error for what is not there."""
    found: dict[Layer, list[int]] = {}
    for name, channels in conditions.items():
        layer = ruled_layer(run, name)
        if not channels:
            raise ParameterError(f"conditions: no channel of layer {name!r}; name at least one, or leave it out")
        for channel in channels:
            if channel >= layer.shape[0]:
                raise ParameterError(
                    f"conditions: channel {shown(channel)} of layer {name!r}, which has 0 to {layer.shape[0] - 1}"
                )
        found[layer] = list(channels)
    return found


def ruled_layer(run: Run, name: str) -> Layer:
    """The layer of this name, where relevance can be looked at."""
    layer = run.structure.find(name)
    if place_of(layer.name).is_input:
        raise LayerError(f"layer={name!r} is the input of a module; name the module that puts it out")
    layers = run.structure.layers
    following = layers[layers.index(layer) + 1 :] if layer in layers else ()
    for norm in following if layer.kind.startswith("Conv") else ():
        if "BatchNorm" in norm.kind and f"{following[0].name}.".startswith(f"{norm.name}."):
            raise LayerError(
                f"layer={name!r} is a convolution, and the batch norm behind it is merged into it: name the norm, "
                f"{norm.name!r}"
            )
    return layer


def relevance_through(
    score: torch.Tensor, kept: Kept, channels: Mapping[Layer, Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients at the layer that ran first, cut to the channels, and that layer's output.

    Each layer, from the last to the first, takes over what arrives there from the layer behind it, and hands on
    that of its channels. What flows past a layer, as around a residual block, is left out.
    """
    by_name = {layer.name: layer for layer in channels}
    at, given = score, None
    for name in reversed(kept.outputs):
        output, layer = kept.outputs[name], by_name[name]
        (gradient,) = torch.autograd.grad(at, output, given, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise LayerError(
                f"no relevance arrives at layer {name!r}: neither the score nor another layer of the conditions "
                "that runs later depends on it"
            )
        mask = torch.zeros(layer.shape[0], device=gradient.device, dtype=gradient.dtype)
        mask[list(channels[layer])] = 1
        last = channel_axis(layer) % gradient.ndim
        at, given = output, gradient * mask.reshape([-1 if axis == last else 1 for axis in range(gradient.ndim)])
    assert given is not None
    return given, at


def per_channel(values: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Values in a layer's own layout, added up over its places and tokens: (n, C)."""
    images_first = values.transpose(0, 1) if layer.held == "tokens first" else values
    found = images_first.movedim(channel_axis(layer), 1)
    return found.flatten(2).sum(dim=2) if found.ndim > 2 else found


def channel_axis(layer: Layer) -> int:
    """Where the channels are in a layer's own layout."""
    return 1 if layer.held in ("maps", "vector") else -1
