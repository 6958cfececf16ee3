"""From a batch of images to feature vectors, thumbnails and, where asked for, class scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from ..errors import LayerError, ModelError, ParameterError
from ..execution import OUTPUT, copied, evaluating, folded_batch_norm, main_output, place_of, run_to
from ..models import Layer, Model, as_maps
from ..results import Array, Normalization
from ..store.thumbnails import thumbnail_of

Precision: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Features:
    """What comes out for n images: ``vectors`` (n, D) float32; ``scores`` (n, K) where the network went on.

    ``normalization``: how scores become probabilities.
    """

    vectors: Array
    scores: Array | None
    normalization: Normalization = "softmax"


def choose_layer(model: Model, shape: tuple[int, int, int], layer: str | None) -> Layer:
    """The layer of this name; by default what the classifier takes in, or the output of a network without one."""
    return model.feature_layer(shape) if layer is None else model.checked(shape).find(layer)


def notes_on_layer(model: Model, layer: Layer, asked: str | None) -> tuple[str, ...]:
    """A linear layer at the end is most often a classifier; where no labels say so, that is taken for granted."""
    if asked is not None or layer.name == OUTPUT or model.labels:
        return ()
    return (
        f"the last linear layer is taken for a classifier, and the vectors are what it takes in ({layer.name}); "
        f"layer={OUTPUT!r} for what the network puts out",
    )


def batch_size(model: Model, shape: tuple[int, int, int], precision: Precision, compiled: bool) -> int:
    """Images at once that fit, and are fastest."""
    is_fast = model.device.type == "cpu" and (precision == "bfloat16" or compiled)
    return model.fitting_batch(shape, at_most=_FAST_BATCH if is_fast else None)


@contextmanager
def extracting(
    model: Model,
    layer: Layer,
    shape: tuple[int, int, int],
    *,
    scores: bool = False,
    precision: Precision = "float32",
    compiled: bool = False,
) -> Iterator[Callable[[torch.Tensor], Features]]:
    """A function from preprocessed images (n, C, H, W) to `Features`, as long as the context lasts.

    Args:
        model: whose module is in evaluation mode for the time being, its batch norms folded into convolutions.
        layer: whose output the vectors are; of a map, each channel's mean.
        shape: (C, H, W) of the images.
        scores: run on to the class scores; otherwise no further than the layer.
        precision: what is computed with; "bfloat16" is faster where the processor knows it.
        compiled: by torch.compile, which needs a C++ compiler and takes some seconds.
    """
    if precision not in ("float32", "bfloat16"):
        raise ParameterError(f"precision={precision!r}: expected 'float32' or 'bfloat16'")
    prepare = model.preparation(shape)
    half = precision == "bfloat16"
    module = copied(model.module, torch.bfloat16) if half else model.module
    with evaluating(module):
        folding: AbstractContextManager[Any] = nullcontext()
        if compiled:
            run = _compiled(module, layer, batch_size(model, shape, precision, compiled))
        else:
            wanted = [layer.name, OUTPUT] if scores else [layer.name]
            run = partial(run_to, module, names=wanted)
            folding = _folded(module, layer, prepare(torch.zeros(1, *shape, dtype=torch.float32, device="cpu")))

        def features(x: torch.Tensor) -> Features:
            prepared = prepare(x)
            found = run(prepared.to(torch.bfloat16) if half else prepared)
            values = as_maps(found[layer.name], layer).float()
            vectors = values.mean(dim=(2, 3)) if values.ndim == 4 else values
            output = found.get(OUTPUT)
            scored = None
            if output is not None and output.ndim == 2 and layer.name != OUTPUT:
                scored = output.float().cpu().numpy()
            n_classes = 0 if scored is None else scored.shape[1]
            return Features(vectors.cpu().numpy(), scored, model.normalization(shape, n_classes))

        with folding:
            yield features


_FAST_BATCH = 8  # on a CPU, in bfloat16 or compiled: 5 to 10 % faster than 4 at once, and than 16


def _folded(module: nn.Module, layer: Layer, example: torch.Tensor) -> AbstractContextManager[Any]:
    """Batch norm folded into the convolutions: fewer passes over the maps.

    Only for a vector: a map could be the output of a convolution that has taken its batch norm in.
    """
    if len(layer.shape) != 1:
        return nullcontext()
    given = example.to(next((p.dtype for p in module.parameters()), example.dtype))
    return folded_batch_norm(module, lambda: run_to(module, given, [layer.name]))


class _WithLayer(nn.Module):
    """A network that also gives what one of its layers took in, or put out, when it ran first."""

    def __init__(self, module: nn.Module, layer: str) -> None:
        super().__init__()
        self.module = module
        self.kept: torch.Tensor | None = None
        place = place_of(layer)
        if place.call or place.item is not None:
            raise LayerError(
                f"layer {layer!r}: compiled=True knows only a layer's first call, and no lists; use compiled=False"
            )
        child = module.get_submodule(place.path)
        if place.is_input:
            child.register_forward_pre_hook(lambda _, given: self.keep(given[0]))
        else:
            child.register_forward_hook(lambda _, given, output: self.keep(main_output(output)))

    def keep(self, x: torch.Tensor | None) -> None:
        if self.kept is None:
            self.kept = x

    def forward(self, x: torch.Tensor) -> tuple[Any, torch.Tensor | None]:
        self.kept = None
        return self.module(x), self.kept


def _compiled(module: nn.Module, layer: Layer, n: int) -> Callable[[torch.Tensor], dict[str, Any]]:
    """The whole network as torch.compile makes it, always for n images, as it would compile again for others.

    Frozen weights take in the batch norms and what follows a convolution. That is asked of the whole process while
    it compiles, as ``options={"freezing": True}`` reaches the compiler when the weights are arguments already.
    """
    whole = torch.compile(_WithLayer(copied(module), layer.name), dynamic=False)

    def run(x: torch.Tensor) -> dict[str, Any]:
        from torch._inductor import config as inductor

        full = torch.cat([x, x[-1:].expand(n - len(x), *x.shape[1:])]) if len(x) < n else x
        try:
            with inductor.patch(freezing=True):
                output, kept = whole(full.contiguous(memory_format=torch.channels_last))
        except Exception as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"this network cannot be compiled here ({first}); use compiled=False") from error
        found = {layer.name: kept[: len(x)]}
        return found | {OUTPUT: output[: len(x)]} if isinstance(output, torch.Tensor) else found

    return run


def thumbnails_of(model: Model, x: torch.Tensor) -> Array:
    """Preprocessed (N, C, H, W) -> uint8 (N, 64, 64, 3)."""
    return np.stack([thumbnail_of(pixels) for pixels in model.to_pixels(x)])
