"""The structure of a network, found by running it on noise."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..checks import InputShape
from ..errors import ConvscopeError, ImageError, ModelError
from ..execution.autograd import cut_off
from ..execution.capture import main_output, tensors_of
from ..execution.digest import Fingerprint, device_of, dtype_of
from ..execution.gradients import differentiable
from ..execution.one_pass import OnePass, forget_chains, remember_chains
from ..execution.running import evaluating, is_running, network_of, refuse_where_it_cannot_run
from ..texts import counted
from .adapted import Adapted
from .behavior import behavior_of, is_alike, kept
from .inputs import ONE_PICTURE
from .layer_roles import candidates_of, detached, features_of, maps_of, output_of
from .layers import Structure, first_convolution
from .recording import Graph, Recorder, graph_of, recorded
from .several_inputs import required_inputs

# Cached while the module lives and stays unchanged, so that a bare module is not analyzed again in every call.
_KNOWN: weakref.WeakKeyDictionary[nn.Module, dict[InputShape, tuple[Fingerprint, Structure]]]
_KNOWN = weakref.WeakKeyDictionary()
_OF_GRADIENT = 0.05  # how far the gradients of two ways to run may lie apart, as a share of the largest
_LATEST: weakref.WeakKeyDictionary[nn.Module, Structure] = weakref.WeakKeyDictionary()


def structure(module: nn.Module, shape: InputShape, *, fresh: bool = True) -> Structure:
    """The structure of a module for inputs of this (C, H, W), from a few runs on noise.

    The result is cached. The network is run again if its weights, its modules or their options have changed;
    ``fresh=False`` takes the cached structure without checking.
    """
    refuse_where_it_cannot_run(module)
    known, network = _KNOWN.setdefault(module, {}), network_of(module)
    if any(is_lazy(p) for p in module.parameters()):
        name = type(network).__name__
        raise ModelError(f"{name} has lazy layers without weights yet: run it once on an input")
    if shape not in known or (fresh and not is_running(module) and not known[shape][0].is_of(network)):
        known[shape] = (Fingerprint(network), _analyzed(module, shape))
    _LATEST[module] = known[shape][1]
    return known[shape][1]


def share_structure(module: nn.Module, twin: nn.Module) -> None:
    """Let a module that runs the same network in the same way have the same structure."""
    _KNOWN[twin] = _KNOWN.setdefault(module, {})


def notes_on(module: nn.Module) -> tuple[str, ...]:
    """The notes on a network from its latest structure."""
    return _LATEST[module].notes if module in _LATEST else ()


def _noise(shape: InputShape, seed: int, *, around: float = 0.0, strength: float = 1.0) -> torch.Tensor:
    """(1, C, H, W), the same on every device and in every type."""
    generator = torch.Generator().manual_seed(seed)
    return around + strength * torch.randn(1, *shape, generator=generator, dtype=torch.float32, device="cpu")


def _analyzed(module: nn.Module, shape: InputShape) -> Structure:
    """The structure, with a refusal if the weights change in a run."""
    name, device = type(network_of(module)).__name__, device_of(module)
    before = [(p, p.detach().clone()) for p in module.parameters() if p.layout == torch.strided]
    found = _run(module, shape, device)
    changed = [(p, value) for p, value in before if not torch.equal(p.detach(), value) and not value.isnan().any()]
    for p, value in changed:
        p.data.copy_(value)
    if changed:
        refusal = (
            f"{name} changes its own weights when it is run, or is being trained in another thread; they were "
            "restored"
        )
        return replace(found, refusal=refusal)
    return found


def _run(module: nn.Module, shape: InputShape, device: torch.device) -> Structure:
    """Run channels-last, or in the default layout if the network cannot, for example because it calls ``view``."""
    failure: Exception | None = None
    pairs = list(_pairs(shape))
    layouts = (torch.channels_last, torch.contiguous_format)[0 if len(shape) == 3 else 1 :]
    for pair, layout in itertools.product(pairs, layouts):
        images = [x.to(device, dtype_of(module), memory_format=layout) for x in pair]
        try:
            graph = graph_of(module, images[0])
            recorder = recorded(module, images[0], graph)
            if pair is not pairs[-1] and not _is_finite(recorder.output):
                continue
            if layout == torch.channels_last and not _is_indifferent(
                module, recorder.output, pair[0].to(images[0])
            ):
                continue
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # report the one in the default layout: channels-last may have caused the other
            if failure is None or layout == torch.contiguous_format:
                failure = error
            continue
        with evaluating(module):
            behavior = behavior_of(module, *images)
        _remember_chains(module, images[0], recorder.output, graph)
        features, why = features_of(recorder, graph)
        candidates = candidates_of(recorder.seen, graph)
        return Structure(
            layers=tuple(seen.layer for seen in recorder.seen),
            candidates=tuple(candidates),
            maps=maps_of(candidates, graph),
            features=features,
            output=output_of(recorder),
            why_no_features=why,
            n_values=recorder.n_values + images[0].numel(),
            memory_format=layout,
            example=images[0],
            rows_independent=behavior.rows_independent,
            ends_in=behavior.ends_in(graph.last_function if graph else ""),
            refusal=behavior.refusal or _why_not_a_batch(module, shape, recorder),
            hidden=tuple(sorted(graph.hidden)) if graph else (),
            detached=detached(recorder.seen, graph),
            is_cut_off=graph is not None and cut_off(graph.reached),
            why_no_gradients=_why_no_gradients(module),
            notes=behavior.notes,
        )
    raise _cannot_run(module, shape, failure) from failure


def _cannot_run(module: nn.Module, shape: InputShape, failure: Exception | None) -> ConvscopeError:
    why = str(failure) or type(failure).__name__
    in_words = getattr(module.call, "in_words", None) if isinstance(module, Adapted) else None
    given = in_words(shape) if in_words else f"an input of shape {(1, *shape)}"
    text = f"{type(network_of(module)).__name__} cannot be run on {given}: {why}"
    text += _what_it_takes(module, shape, failure)
    if len(shape) == 2 and any(isinstance(m, nn.Conv2d) for m in module.modules()):
        return ImageError(f"{text}. {ONE_PICTURE}")
    return ModelError(text)


def _what_it_takes(module: nn.Module, shape: InputShape, failure: Exception | None) -> str:
    """What may be wrong with an input on which a network cannot be run."""
    first = first_convolution(module)
    names = required_inputs(network_of(module))
    if isinstance(failure, TypeError) and "missing" in str(failure) and len(names) > 1:
        given = ", ".join(f"{name!r}: ..." for name in names)
        return f". It has several inputs: give Model(net, inputs={{{given}}})"
    if first is not None and first.in_channels != shape[0]:
        channels = counted(shape[0], "channel")
        return (
            f". The input has {channels}, as mean and std have values; the first convolution takes "
            f"{counted(first.in_channels, 'channel')}"
        )
    return ""


def _why_not_a_batch(module: nn.Module, shape: InputShape, recorder: Recorder) -> str:
    """Why a run says nothing of a batch of signals or volumes: one picture was given, without a batch."""
    if len(shape) == 3 or not recorder.without_batch:
        return ""
    return (
        f"{type(network_of(module)).__name__} takes an input of shape {(1, *shape)} for a single image without a "
        f"batch, in its convolution {recorder.without_batch!r}. {ONE_PICTURE}"
    )


def _why_no_gradients(module: nn.Module) -> str:
    """Why a network that runs outside of PyTorch has no gradients; "" for any other."""
    return next((why for m in module.modules() if (why := getattr(m, "why_no_gradients", ""))), "")


def _remember_chains(module: nn.Module, image: torch.Tensor, output: Any, graph: Graph | None) -> None:
    """Let gradients pass through folded batch norms, unless parts of the network are hidden or outputs change."""
    forget_chains(module)
    if graph is None or graph.hidden:
        return
    with evaluating(module):
        remember_chains(module, lambda: module(image.clone()))
        with OnePass(module):
            again = kept(module(image.clone()))
    plain = _gradient(module, image)
    with OnePass(module):
        folded = _gradient(module, image)
    if not (is_alike(kept(output), again, kept(output)) and _is_near(plain, folded)):
        forget_chains(module)


def _is_finite(output: Any) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors_of(output))


def _is_indifferent(module: nn.Module, output: Any, image: torch.Tensor) -> bool:
    """Whether a network gives the same result for an image in the default layout as in channels-last."""
    with evaluating(module):
        if not is_alike(kept(output), kept(module(image.contiguous())), kept(output)):
            return False
    as_run = image.contiguous(memory_format=torch.channels_last)
    return _is_near(_gradient(module, as_run), _gradient(module, image.contiguous()))


def _gradient(module: nn.Module, image: torch.Tensor) -> torch.Tensor | None:
    """That of the first value of the output for an image; None where there is none."""
    leaf = image.detach().requires_grad_()
    try:
        with differentiable(module):
            output = main_output(module(leaf.clone()))
            if output is None or not output.numel():
                return None
            return torch.autograd.grad(output.flatten()[0], leaf, allow_unused=True)[0]
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # as from a quantized network, or one without gradients
        return None


def _is_near(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    """Whether two gradients are the same up to rounding, which may pass on to another side of a ReLU.

    PyTorch has backward passes that are wrong in one of the layouts: seen in LeViT, channels-last.
    """
    return a is None or b is None or bool((a - b).abs().max() <= _OF_GRADIENT * a.abs().max())


def _pairs(shape: InputShape) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Two images that differ in brightness and contrast, so that a branch on values takes both sides.

    Then two in [0, 1], for a network that refuses other values or has no finite scores for them.
    """
    yield _noise(shape, 0, around=-1.0), _noise(shape, 1, around=1.5, strength=3.0)
    yield _noise(shape, 0).sigmoid() / 3, _noise(shape, 1, around=1.0, strength=2.0).sigmoid()
