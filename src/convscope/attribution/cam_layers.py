"""At which layer a class activation map is made: the last feature map or tokens that the score depends on."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from ..errors import LayerError, TargetError
from ..execution import differentiable, intercepted, main_output, place_of, reached
from ..models import NO_LAYERS, Layer, Model, Structure, as_maps, lie_in_place, of_last_kind
from ..targets import Several, Target, describe, is_of_classes
from .method_run import Run


@dataclass(frozen=True)
class CamLayer:
    """A layer that puts out something at places of the image; ``maps`` makes (n, K, h, w) of its output."""

    name: str
    maps: Callable[[torch.Tensor], torch.Tensor]


def cam_layer(run: Run, name: str | None) -> CamLayer:
    """The layer of this name, or the one to take for the inputs and the target of a run.

    By default that is the last feature map on which the score depends, before pooling and classifier. In a
    transformer it is the last layer with one vector a patch whose patches the score depends on: where only the
    class token is read at the end, that is the input of the last attention. The provenance names it.

    Raises:
        LayerError: there is none, or the named one has no places.
    """
    model, shape = run.model, run.inputs.shape
    if name is not None:
        return _of(run, _named(model, shape, name))
    candidates = model.checked(shape).candidates
    if not candidates:
        seen = (
            "no feature map of more than one value that its output depends on"
            if model.checked(shape).layers
            else ""
        )
        raise LayerError(
            f"{model.name}: {seen or NO_LAYERS} for inputs of {shape}. A class activation map needs one: use "
            "occlusion or saliency"
        )
    return _of(run, _last_that_is_read(run, candidates))


def _of(run: Run, layer: Layer) -> CamLayer:
    """The layer, named in the provenance; a note where its tokens may be in another order than the patches."""
    run.describe(layer=layer.name)
    if layer.held.startswith("tokens"):
        known = _IN_PLACE.setdefault(run.model.checked(run.inputs.shape), {})
        if layer.name not in known:
            known[layer.name] = _lies_in_place(run, layer)
        if not known[layer.name]:
            run.note(
                f"the tokens of layer {layer.name!r} depend on their patch of the image no more than on the rest: "
                "they may be in another order, or so mixed that a map of them says little of where"
            )
    return CamLayer(layer.name, partial(as_maps, layer=layer))


# By what a network was seen to be: whether tokens lie where their patches are, by layer; and the layer that the
# scores of classes are read from, the same for all of them.
_IN_PLACE: weakref.WeakKeyDictionary[Structure, dict[str, bool]] = weakref.WeakKeyDictionary()
_READ: weakref.WeakKeyDictionary[Structure, Layer] = weakref.WeakKeyDictionary()


def _lies_in_place(run: Run, layer: Layer) -> bool:
    found: dict[str, torch.Tensor] = {}
    with differentiable(run.model.module), _kept(run.model, (layer,), found):
        _, image = _probed(run)
        output = found.get(layer.name)
        return output is None or output.grad_fn is None or lie_in_place(as_maps(output, layer), image)


def _named(model: Model, shape: tuple[int, int, int], name: str) -> Layer:
    chosen = model.checked(shape).find(name)
    if place_of(name).is_input:
        raise LayerError(f"layer={name!r} goes into a module; name the module that puts it out")
    if not chosen.is_spatial:
        raise LayerError(f"layer={name!r} puts out {chosen.shape}; a class activation map needs (C, H, W)")
    return chosen


def _last_that_is_read(run: Run, layers: tuple[Layer, ...]) -> Layer:
    """The last of these layers that the score depends on."""
    structure = run.model.structure(run.inputs.shape)
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
    """Found by one run, with a gradient.

    Preferably a layer at whose places there is a gradient: a score that reads the class token alone depends on all
    tokens by the graph.
    """
    found: dict[str, torch.Tensor] = {}

    with differentiable(run.model.module), _kept(run.model, layers, found):
        score, _ = _probed(run)
        if score.grad_fn is None:  # a network without gradients
            return of_last_kind(layers)[-1]
        nodes = reached([score])
        read = of_last_kind(
            [layer for layer in layers if layer.name in found and found[layer.name].grad_fn in nodes]
        )
        if not read:
            network, names = run.model.name, ", ".join(layer.name for layer in layers[-3:])
            raise LayerError(
                f"the score of {describe(run.target)} depends on none of the feature maps of {network} ({names} "
                "and those before them); name a layer"
            )
        outputs = [found[layer.name] for layer in read]
        gradients = torch.autograd.grad(score, outputs, allow_unused=True)
        at_places = [
            layer
            for layer, gradient in zip(read, gradients, strict=True)
            if gradient is not None and bool(as_maps(gradient, layer).any())
        ]
    return (at_places or read)[-1]  # a classifier of zeros reads nothing


@contextmanager
def _kept(model: Model, layers: tuple[Layer, ...], found: dict[str, torch.Tensor]) -> Iterator[None]:
    """Inside, what these layers put out is kept as it was then, as a part of the graph."""

    def keep(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        def kept(output: torch.Tensor) -> torch.Tensor:
            found[name] = output
            return output.clone()  # what follows may be in place

        return kept

    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(intercepted(model.module, layer.name, keep(layer.name)))
        yield


def _probed(run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """A scalar that depends on what the score of the call depends on, and the image.

    Of classes all scores of an image of noise, so that the layer is the same for each of them. Other targets look
    for something in an image, and get the first one of the run.
    """
    if _is_of_plain_classes(run.target):
        model, shape = run.model, run.inputs.shape
        x = model.structure(shape).example.clone().requires_grad_()
        output = main_output(model.module(x.clone()))
        if output is None:
            raise TargetError(f"{model.name} puts out no tensor; give a callable as target")
        return output.float().square().sum(), x
    batch = next(run.model.batches(run.inputs, size=1))
    scored = run.score_batch(batch, gradients="image")
    return scored.scores.sum(), scored.leaf
