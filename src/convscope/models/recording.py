"""Record one run of a network on an image: its layers and its autograd graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..execution.autograd import Head, Node, head_of, last_function, own_functions, reached
from ..execution.capture import INPUT, first_input, items_of, main_output, tensors_of
from ..execution.gradients import frozen
from ..execution.hooking import hooks
from ..execution.running import evaluating
from .hidden_operations import watching_for_hidden
from .layers import CONVOLUTIONS, PASSING, Held, Layer
from .onnx_sessions import OnnxTensor
from .receptive_field import Geometry, GeometryMode
from .tokens import Grids, Patches

_POOLING = (
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d),
    *(nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d),
)


@dataclass(frozen=True)
class Graph:
    """What a run with gradients reveals: each layer's autograd node, and what the output depends on."""

    nodes: dict[str, Node]
    patches: Patches
    head: Head
    classified: frozenset[Node]  # the classifiers: final linear layers of any output tensor, and what follows them
    reached: frozenset[Node]
    last_function: str
    hidden: frozenset[str]


def graph_of(module: nn.Module, image: torch.Tensor) -> Graph | None:
    """The graph; None if no gradient leads from output to image, or the network runs only without gradients."""
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
            return Graph(
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
    """Inside, every tensor that a module returns is passed to ``note(name, module, input, output)``."""
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
class RecordedLayer:
    """A layer, recorded when its module returned."""

    layer: Layer
    module: nn.Module
    is_of_image: bool  # depends on the image, not only on weights
    is_map: bool  # a map of the image: neither attention nor freshly pooled
    takes_in: Layer | None


def recorded(module: nn.Module, image: torch.Tensor, graph: Graph | None) -> Recorder:
    """Run the network once and record its layers."""
    with evaluating(module):
        x = image.clone()
        mode = GeometryMode(x)
        recorder = Recorder(mode, Grids(x.shape[2:], graph.patches if graph else None), graph, x.ndim - 2)
        with _noting(module, recorder.note), mode:
            recorder.output = module(x)
        return recorder


class Recorder:
    """Collects the layers as their modules return, for an image of so many sides.

    ``without_batch`` is the first convolution that took the dimension of the batch for the channels of a single
    image, or "".
    """

    def __init__(self, mode: GeometryMode, grids: Grids, graph: Graph | None, n_sides: int) -> None:
        self.seen: list[RecordedLayer] = []
        self.n_values = 0
        self.output: Any = None
        self.n_sides, self.without_batch = n_sides, ""
        self._mode, self._grids, self._graph = mode, grids, graph
        self._pooled: tuple[int, tuple[int, ...]] | None = None

    def note(self, name: str, module: nn.Module, given: torch.Tensor | None, tensor: torch.Tensor) -> None:
        """See `_noting`."""
        place = (_address(tensor), tuple(tensor.shape))
        passes = isinstance(module, PASSING)
        if next(module.children(), None) is None and not passes:
            self.n_values += tensor.numel()
            self._pooled = place if isinstance(module, _POOLING) else None
            if isinstance(module, CONVOLUTIONS) and given is not None and given.ndim < module.weight.ndim:
                self.without_batch = self.without_batch or name
        layer = self._layer(name, module, tensor)
        if layer is None:
            return
        # A container that ends in pooling returns the pooled tensor itself; that is not another map.
        is_of_image = self._is_of_image(module, tensor)
        is_map = is_of_image and layer.is_spatial and not passes and place != self._pooled
        is_map = is_map and self._grids.is_of_places(tensor, layer.shape[1:]) and not self._is_softmax(name)
        before = None if given is None else self._layer(f"{name}{INPUT}", module, given)
        self.seen.append(RecordedLayer(layer, module, is_of_image, is_map, before))

    def _is_of_image(self, module: nn.Module, tensor: torch.Tensor) -> bool:
        """Operations outside of PyTorch cannot be followed; what they give is taken to be of the image."""
        return self._mode.of(tensor) is not None or isinstance(module, OnnxTensor)

    def _is_softmax(self, name: str) -> bool:
        node = self._graph.nodes.get(name) if self._graph else None
        return node is not None and node.name().startswith(("Softmax", "SafeSoftmax"))

    def _layer(self, name: str, module: nn.Module, tensor: torch.Tensor) -> Layer | None:
        """The layer of this output, if that is a vector, a map or tokens of one image."""
        if not tensor.is_floating_point():
            return None
        kind, geometry = type(module).__name__, self._mode.of(tensor) or Geometry(whole=True)
        field = None if geometry.whole else geometry.size
        pixels = () if geometry.whole else tuple(zip(geometry.first, geometry.last, geometry.step, strict=True))
        if tensor.ndim == 2 and len(tensor) == 1:
            return Layer(name, kind, tuple(tensor.shape[1:]), None, "vector")
        if tensor.ndim == self.n_sides + 2 and len(tensor) == 1:
            last = self._grids.is_channels_last(tensor, geometry)
            shape = (tensor.shape[-1], *tensor.shape[1:-1]) if last else tuple(tensor.shape[1:])
            if self._is_of_image(module, tensor):  # not a table of relative positions
                self._grids.add_map(shape[1:])
            return Layer(name, kind, shape, field, "maps, channels last" if last else "maps", pixels)
        if tensor.ndim == 3 and 1 in tensor.shape[:2]:
            tokens = tensor if len(tensor) == 1 else tensor.transpose(0, 1)
            grid = self._grids.of_tokens(*tokens.shape[1:])
            if grid is not None:
                of_patches = (tokens.shape[2], *grid)
                held: Held = "tokens" if tokens is tensor else "tokens first"
                return Layer(name, kind, of_patches, field, held, pixels)
        return None


def _address(tensor: torch.Tensor) -> int:
    try:
        return tensor.data_ptr()
    except RuntimeError:  # inside vmap
        return id(tensor)
