"""The layer of a class activation map: by default the last feature map or tokens on which the score depends."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from ..errors import LayerError, TargetError
from ..execution import differentiable, kept_outputs, main_output, place_of, reached
from ..models import NO_LAYERS, Layer, Structure, as_maps, lie_in_place, of_last_kind
from ..targets import Several, Target, describe, is_of_classes
from .method_run import Run

# By the structure of a network: whether the places of a layer are those of the input, by its name; and the layer
# from which class scores are read, the same for all classes.
_IN_PLACE: weakref.WeakKeyDictionary[Structure, dict[str, bool]] = weakref.WeakKeyDictionary()
_READ: weakref.WeakKeyDictionary[Structure, Layer] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class CamLayer:
    """A layer whose output has places in the image; ``maps`` turns that output into (n, K, h, w)."""

    name: str
    maps: Callable[[torch.Tensor], torch.Tensor]


def cam_layer(run: Run, name: str | None) -> CamLayer:
    """The layer with this name, or the default for the inputs and the target of a run; the provenance names it.

    The default is the last feature map on which the score depends, before pooling and classifier. In a transformer
    it is the last layer with one vector a patch whose patches the score depends on: where only the class token is
    read at the end, that is the input of the last attention.

    Raises:
        LayerError: there is none, or the named one has no places.
    """
    layer = _last_that_is_read(run) if name is None else _named(run.structure, name)
    run.describe(layer=layer.name)
    may_be_mixed = layer.held.startswith("tokens") or len(run.inputs.shape) != 3
    if may_be_mixed and not _lie_in_place(run, layer):
        parts = "tokens" if layer.held.startswith("tokens") else "places"
        run.note(
            f"the {parts} of layer {layer.name!r} depend on their own part of the input no more than on the rest: "
            "they may be in another order, or so mixed that a map of them says little about where"
        )
    return CamLayer(layer.name, partial(as_maps, layer=layer))


def _named(structure: Structure, name: str) -> Layer:
    chosen = structure.find(name)
    if place_of(name).is_input:
        raise LayerError(f"layer={name!r} is the input of a module; name the module that puts it out")
    if not chosen.is_spatial:
        raise LayerError(f"layer={name!r} puts out {chosen.shape}; a class activation map needs (C, H, W)")
    return chosen


def _lie_in_place(run: Run, layer: Layer) -> bool:
    """Whether tokens, or the places of a signal's or a volume's map, are those of the input, in its order."""
    known = _IN_PLACE.setdefault(run.structure, {})
    if layer.name not in known:
        with differentiable(run.model.module), kept_outputs(run.model.module, [layer.name]) as found:
            _, image = _probe(run)
            output = found.get(layer.name)
            known[layer.name] = (
                output is None or output.grad_fn is None or lie_in_place(as_maps(output, layer), image)
            )
    return known[layer.name]


def _last_that_is_read(run: Run) -> Layer:
    """The last layer with places that the score depends on."""
    structure, shape = run.structure, run.inputs.shape
    layers = structure.candidates
    if not layers:
        found = f"no feature map of more than one value that its output depends on for inputs of {shape}"
        seen = found if structure.layers else NO_LAYERS
        raise LayerError(
            f"{run.model.name}: {seen}. A class activation map needs a feature map: use occlusion or saliency"
        )
    if structure.is_cut_off:  # there is no gradient to ask
        return of_last_kind(layers)[-1]
    if not _is_of_plain_classes(run.target):
        return _read(run, layers)
    if structure not in _READ:
        _READ[structure] = _read(run, layers)
    return _READ[structure]


def _is_of_plain_classes(target: Target) -> bool:
    return is_of_classes(target) and not isinstance(target, Several)


def _read(run: Run, layers: tuple[Layer, ...]) -> Layer:
    """The last of these layers that the score depends on, found by one run with a gradient.

    A score that reads the class token alone depends on all tokens by the graph, so layers with a gradient at some
    place go before.
    """
    names = [layer.name for layer in layers]
    with differentiable(run.model.module), kept_outputs(run.model.module, names) as found:
        score, _ = _probe(run)
        if score.grad_fn is None:  # a network without gradients
            return of_last_kind(layers)[-1]
        nodes = reached([score])
        read = of_last_kind(
            [layer for layer in layers if layer.name in found and found[layer.name].grad_fn in nodes]
        )
        if not read:
            raise LayerError(
                f"the score of {describe(run.target)} depends on none of the feature maps of {run.model.name} "
                f"({', '.join(names[-3:])} and those before them); name a layer"
            )
        outputs = [found[layer.name] for layer in read]
        gradients = torch.autograd.grad(score, outputs, allow_unused=True)
        at_places = [
            layer
            for layer, gradient in zip(read, gradients, strict=True)
            if gradient is not None and bool(as_maps(gradient, layer).any())
        ]
    return (at_places or read)[-1]  # the gradient of a classifier of zeros is zero everywhere


def _probe(run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """A scalar that depends on what the score depends on, and the image it comes from.

    For classes it is made of all scores of an image of noise, so that the layer is the same for every class. Other
    targets look for something in an image, and get the first one of the run.
    """
    if _is_of_plain_classes(run.target):
        x = run.structure.example.clone().requires_grad_()
        output = main_output(run.model.module(x.clone()))
        if output is None:
            raise TargetError(f"{run.model.name} puts out no tensor; give a callable as target")
        return output.float().square().sum(), x
    batch = next(run.model.batches(run.inputs, size=1))
    scored = run.score_batch(batch, gradients="image")
    return scored.scores.sum(), scored.leaf
