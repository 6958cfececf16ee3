"""How a network is put together: found by running it on noise, in the order in which its modules run."""

from __future__ import annotations

import itertools
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..errors import ModelError
from .capture import INPUT, OUTPUT, first_input, items_of, main_output, tensors_of
from .conduct import conduct_of, is_alike, kept
from .digest import Fingerprint, device_of, dtype_of
from .execution import evaluating, frozen, hooks, is_running
from .graphs import Head, Node, cut_off, head_of, last_function, own_functions, reached
from .layers import Held, Layer, Structure, of_last_kind
from .receptive_field import Geometry, GeometryMode
from .tokens import Grids, Patches
from .visibility import watching_for_hidden

Shape = tuple[int, int, int]

_POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_PASSING = (nn.Identity, nn.Dropout, nn.Dropout2d)  # which put out what they take in

# Remembered as long as the module lives and stays as it is, so that a bare module is not run again at every call.
_SEEN: weakref.WeakKeyDictionary[nn.Module, dict[Shape, tuple[Fingerprint, Structure]]]
_SEEN = weakref.WeakKeyDictionary()
_LATEST: weakref.WeakKeyDictionary[nn.Module, Structure] = weakref.WeakKeyDictionary()


def structure(module: nn.Module, shape: Shape, *, fresh: bool = True) -> Structure:
    """The structure of a module for inputs of this (C, H, W), from a few runs on noise.

    It is run again when its weights, its modules or their options have changed since; ``fresh=False`` takes what
    is known without looking.
    """
    known = _SEEN.setdefault(module, {})
    if shape not in known or (fresh and not is_running(module) and not known[shape][0].is_of(module)):
        known[shape] = (Fingerprint(module), _looked_at(module, shape))
    _LATEST[module] = known[shape][1]
    return known[shape][1]


def notes_on(module: nn.Module) -> tuple[str, ...]:
    """What has been found out about a network, for the inputs that it was last run on."""
    return _LATEST[module].notes if module in _LATEST else ()


def _noise(shape: Shape, seed: int, *, around: float = 0.0, strength: float = 1.0) -> torch.Tensor:
    """(1, C, H, W), the same on every device and in every type."""
    return around + strength * torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))


def _looked_at(module: nn.Module, shape: Shape) -> Structure:
    """The structure, of a network that has its weights and leaves them as they are."""
    name, device = type(module).__name__, device_of(module)
    if any(is_lazy(p) for p in module.parameters()):
        raise ModelError(f"{name} has lazy layers without weights yet: run it once on an input")
    if device.type == "meta":
        raise ModelError(f"{name} has its weights on the meta device, where there are none: load them")
    before = [(p, p.detach().clone()) for p in module.parameters() if p.layout == torch.strided]
    found = _run(module, shape, device)
    changed = [(p, value) for p, value in before if not torch.equal(p.detach(), value) and not value.isnan().any()]
    for p, value in changed:
        p.data.copy_(value)
    if changed:
        return replace(found, refusal=f"{name} changes its own weights when it is run; they were put back")
    return found


def _run(module: nn.Module, shape: Shape, device: torch.device) -> Structure:
    """Run channels-last; a network that reshapes with ``view`` refuses that, and is run as it is."""
    failure: Exception | None = None
    pairs = list(_pairs(shape))
    for pair, layout in itertools.product(pairs, (torch.channels_last, torch.contiguous_format)):
        images = [x.to(device, dtype_of(module), memory_format=layout) for x in pair]
        try:
            graph = _graph(module, images[0])
            recorder = _recorded(module, images[0], graph)
            if pair is not pairs[-1] and not _is_finite(recorder.output):
                continue
            if layout == torch.channels_last and not _is_indifferent(
                module, recorder.output, pair[0].to(images[0])
            ):
                continue
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # of the network run as it is, on plain noise: others may be of our own making
            if failure is None or layout == torch.contiguous_format:
                failure = error
            continue
        with evaluating(module):
            conduct = conduct_of(module, *images)
        features, why = _features(recorder, graph)
        candidates = _candidates(recorder.seen, graph)
        return Structure(
            layers=tuple(seen.layer for seen in recorder.seen),
            candidates=tuple(candidates),
            maps=_maps(candidates, graph),
            features=features,
            output=_output(recorder),
            why_no_features=why,
            n_values=recorder.n_values + images[0].numel(),
            memory_format=layout,
            example=images[0],
            rows_independent=conduct.rows_independent,
            ends_in=conduct.ends_in(graph.last_function if graph else ""),
            refusal=conduct.refusal,
            hidden=tuple(sorted(graph.hidden)) if graph else (),
            detached=_detached(recorder.seen, graph),
            is_cut_off=graph is not None and cut_off(graph.reached),
            notes=conduct.notes,
        )
    why = str(failure) or type(failure).__name__
    raise ModelError(
        f"{type(module).__name__} cannot be run on an input of shape {(1, *shape)}: {why}"
    ) from failure


def _is_finite(output: Any) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors_of(output))


def _is_indifferent(module: nn.Module, output: Any, image: torch.Tensor) -> bool:
    """Whether a network gives the same for an image that lies in memory the usual way, and not channels-last."""
    with evaluating(module):
        return is_alike(kept(output), kept(module(image.contiguous())), kept(output))


def _pairs(shape: Shape) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Two images unlike each other in brightness and contrast, so that a branch on values takes both ways.

    Then two from 0 to 1, for a network that refuses other values, or has no finite scores for them.
    """
    yield _noise(shape, 0, around=-1.0), _noise(shape, 1, around=1.5, strength=3.0)
    yield _noise(shape, 0).sigmoid() / 3, _noise(shape, 1, around=1.0, strength=2.0).sigmoid()


@dataclass(frozen=True)
class _Graph:
    """What a run with gradients shows: of each layer its node, and what the output depends on."""

    nodes: dict[str, Node]
    patches: Patches
    head: Head
    classified: frozenset[Node]  # what comes after the last linear layer before any tensor of the output
    reached: frozenset[Node]
    last_function: str
    hidden: frozenset[str]


def _graph(module: nn.Module, image: torch.Tensor) -> _Graph | None:
    """None where the output has lost its way back to the image, or the network runs only without gradients."""
    leaf = image.clone().requires_grad_()
    nodes: dict[str, Node] = {}
    tokens: dict[int, torch.Tensor] = {}

    def note(name: str, _: nn.Module, __: Any, tensor: torch.Tensor) -> None:
        nodes[name] = tensor.grad_fn
        if tensor.ndim == 3 and 1 in tensor.shape[:2]:
            batch_first = tensor if len(tensor) == 1 else tensor.transpose(0, 1)
            tokens.setdefault(batch_first.shape[1], batch_first)

    try:
        with evaluating(module), frozen(module), torch.enable_grad(), _noting(module, note):
            with watching_for_hidden() as hidden:
                output = module(leaf.clone())  # its first operation may be in place
            main = main_output(output)
            if main is None or main.grad_fn is None:
                return None
            nodes_reached = reached([main])
            heads = [head for tensor in tensors_of(output) if (head := head_of(tensor)).is_linear]
            return _Graph(
                nodes,
                Patches(leaf, tokens),
                head_of(main),
                frozenset().union(*(head.nodes for head in heads)),
                nodes_reached,
                last_function(main),
                frozenset((*hidden, *own_functions(nodes_reached))),
            )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:
        return None


@contextmanager
def _noting(
    module: nn.Module, note: Callable[[str, nn.Module, torch.Tensor | None, torch.Tensor], None]
) -> Iterator[None]:
    """Inside, ``note(name, module, input, output)`` is called for every tensor that a module puts out."""
    calls: dict[str, int] = defaultdict(int)

    def hook(name: str) -> Callable[..., None]:
        def finished(child: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            full_name = f"{name}:{calls[name]}" if calls[name] else name
            calls[name] += 1
            for item, tensor in items_of(output):
                note(f"{full_name}{item}", child, first_input(args, kwargs), tensor)

        return finished

    with hooks() as attached:
        for child, name in {child: name for name, child in module.named_modules() if name}.items():
            if not isinstance(child, torch.jit.ScriptModule):  # which takes no hooks
                attached.append(child.register_forward_hook(hook(name), with_kwargs=True))
        yield


@dataclass(frozen=True)
class _Seen:
    """A layer as it was when its module had finished."""

    layer: Layer
    module: nn.Module
    is_of_image: bool  # made of it, and not of weights alone
    is_map: bool  # something of the image at places: no attention, nothing that has just been pooled
    takes_in: Layer | None


def _recorded(module: nn.Module, image: torch.Tensor, graph: _Graph | None) -> _Recorder:
    """One run with everything that is seen on the way."""
    with evaluating(module):
        x = image.clone()
        mode = GeometryMode(x)
        recorder = _Recorder(mode, Grids(x.shape[2:], graph.patches if graph else None), graph)
        with _noting(module, recorder.note), mode:
            recorder.output = module(x)
        return recorder


class _Recorder:
    """Collects layers as the modules finish."""

    def __init__(self, mode: GeometryMode, grids: Grids, graph: _Graph | None) -> None:
        self.seen: list[_Seen] = []
        self.n_values = 0
        self.output: Any = None
        self._mode, self._grids, self._graph = mode, grids, graph
        self._pooled: tuple[int, tuple[int, ...]] | None = None

    def note(self, name: str, module: nn.Module, given: torch.Tensor | None, tensor: torch.Tensor) -> None:
        """See `_noting`."""
        place = (_address(tensor), tuple(tensor.shape))
        passes = isinstance(module, _PASSING)
        if next(module.children(), None) is None and not passes:
            self.n_values += tensor.numel()
            self._pooled = place if isinstance(module, _POOLING) else None
        layer = self._layer(name, module, tensor)
        if layer is None:
            return
        # A container that ends in pooling puts out the pooled tensor itself: not a map of its own.
        is_of_image = self._mode.of(tensor) is not None
        is_map = is_of_image and layer.is_spatial and not passes and place != self._pooled
        is_map = is_map and self._grids.is_of_places(tensor) and not self._is_softmax(name)
        before = None if given is None else self._layer(f"{name}{INPUT}", module, given)
        self.seen.append(_Seen(layer, module, is_of_image, is_map, before))

    def _is_softmax(self, name: str) -> bool:
        node = self._graph.nodes.get(name) if self._graph else None
        return node is not None and node.name().startswith(("Softmax", "SafeSoftmax"))

    def _layer(self, name: str, module: nn.Module, tensor: torch.Tensor) -> Layer | None:
        """What it puts out, where that is a vector, a map or tokens of one image."""
        if not tensor.is_floating_point():
            return None
        kind, geometry = type(module).__name__, self._mode.of(tensor) or Geometry(whole=True)
        field = None if geometry.whole else geometry.size
        if tensor.ndim == 2 and len(tensor) == 1:
            return Layer(name, kind, tuple(tensor.shape[1:]), None, "vector")
        if tensor.ndim == 4 and len(tensor) == 1:
            a, b, c = tensor.shape[1:]
            if self._grids.is_channels_last(tensor, geometry):
                return Layer(name, kind, (c, a, b), field, "maps, channels last")
            self._grids.add_map((b, c))
            return Layer(name, kind, (a, b, c), field, "maps")
        if tensor.ndim == 3 and 1 in tensor.shape[:2]:
            tokens = tensor if len(tensor) == 1 else tensor.transpose(0, 1)
            grid = self._grids.of_tokens(*tokens.shape[1:])
            if grid is not None:
                shape = (tokens.shape[2], *grid)
                return Layer(name, kind, shape, field, "tokens" if tokens is tensor else "tokens first")
        return None


def _address(tensor: torch.Tensor) -> int:
    try:
        return tensor.data_ptr()
    except RuntimeError:  # inside of vmap
        return id(tensor)


def _candidates(every: Sequence[_Seen], graph: _Graph | None) -> list[Layer]:
    """Maps and tokens of the image, but for what a classifier puts out."""
    after = graph.classified if graph else frozenset()
    return [
        seen.layer for seen in every if seen.is_map and not (graph and graph.nodes.get(seen.layer.name) in after)
    ]


def _maps(candidates: Sequence[Layer], graph: _Graph | None) -> tuple[Layer, ...]:
    """Those on which the output depends."""
    return of_last_kind(
        [layer for layer in candidates if not graph or graph.nodes.get(layer.name) in graph.reached]
    )


def _detached(every: Sequence[_Seen], graph: _Graph | None) -> str:
    """The first layer whose output is made of the image, and has no gradient with respect to it."""
    nodes = graph.nodes if graph else {}
    layers = (seen.layer.name for seen in every if seen.is_of_image and nodes.get(seen.layer.name, 0) is None)
    return next(layers, "")


def _features(recorder: _Recorder, graph: _Graph | None) -> tuple[Layer | None, str]:
    """What the classifier takes in, or the output of a network without one; and why there is neither."""
    main, every = main_output(recorder.output), recorder.seen
    if main is None:
        return None, f"it puts out a {type(recorder.output).__name__}"
    if graph is None:
        last = every[-1] if every else None
        if last is not None and _is_dense(last.module) and last.layer.held == "vector":
            return last.takes_in, ""
        return None, "its layers cannot be seen, or no gradient goes through it"
    if graph.head.is_linear:
        ends = [seen for seen in every if seen.takes_in and graph.nodes.get(seen.layer.name) in graph.head.nodes]
        dense = [seen for seen in ends if _is_dense(seen.module)]
        if ends:  # of containers the innermost, which is the first to finish
            return dense[-1].takes_in if dense else ends[0].takes_in, ""
        return None, "it ends in a linear function that belongs to no module"
    if graph.head.unknown:
        return None, f"it ends in {', '.join(graph.head.unknown)}, which a classifier may or may not do"
    if (output := _output(recorder)) is not None:
        return output, ""
    return None, f"it puts out {tuple(main.shape)} for one image, and no vector"


def _output(recorder: _Recorder) -> Layer | None:
    """What the whole network puts out, as a layer, where that is a vector or a map."""
    main = main_output(recorder.output)
    if main is None or main.ndim not in (2, 4) or len(main) != 1:
        return None
    held: Held = "vector" if main.ndim == 2 else "maps"
    return Layer(OUTPUT, "output", tuple(main.shape[1:]), None, held)


def _is_dense(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv2d) or "Linear" in type(module).__name__
