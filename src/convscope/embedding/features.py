"""From a batch of images to feature vectors, thumbnails and, where asked for, class scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..errors import LayerError, ParameterError
from ..models import Layer, Model, as_maps, evaluating, folded_batch_norm, run_to
from ..results import Array
from .table import THUMBNAIL_PX

Precision: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Features:
    """What comes out for n images: ``vectors`` (n, D) float32; ``scores`` (n, K) where the network went on."""

    vectors: Array
    scores: Array | None


def choose_layer(model: Model, shape: tuple[int, int, int], layer: str | None) -> Layer:
    """The layer of this name; by default what the classifier takes in."""
    structure = model.structure(shape)
    if layer is not None:
        return structure.find(layer)
    if structure.features is None:
        raise LayerError(f"{model.name} has no layer with weights that takes in a feature vector; name a layer")
    return structure.features


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
        compiled: by torch.compile, which takes a minute and a C++ compiler, and pays from some thousand images on.
    """
    if precision not in ("float32", "bfloat16"):
        raise ParameterError(f"precision={precision!r}: expected 'float32' or 'bfloat16'")
    half = torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bfloat16")
    wanted = [layer.name, _OUTPUT] if scores else [layer.name]
    prepare = model.preparation(shape)
    with evaluating(model.module), torch.inference_mode(), _folded(model, shape, layer):
        run = _compiled(model.module, layer) if compiled else lambda x: run_to(model.module, x, wanted)

        def features(x: torch.Tensor) -> Features:
            with half:
                found = run(prepare(x))
            values = as_maps(found[layer.name], layer).float()
            vectors = values.mean(dim=(2, 3)) if values.ndim == 4 else values
            output = found.get(_OUTPUT)
            is_scores = isinstance(output, torch.Tensor) and output.ndim == 2
            return Features(vectors.cpu().numpy(), output.float().cpu().numpy() if is_scores else None)  # type: ignore[union-attr]

        yield features


_OUTPUT = ""  # the network itself, as a layer: what it puts out


def _compiled(module: nn.Module, layer: Layer) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
    """The whole network as torch.compile makes it, with what the layer has seen on the way."""
    return lambda x: run_to(module, x, [layer.name, _OUTPUT])


def _folded(model: Model, shape: tuple[int, int, int], layer: Layer) -> AbstractContextManager[Any]:
    """Batch norm folded into the convolutions: fewer passes over the maps.

    Only for a vector: a map could be the output of a convolution that has taken its batch norm in.
    """
    if len(layer.shape) != 1:
        return nullcontext()
    example = model.preparation(shape)(torch.zeros(1, *shape))
    return folded_batch_norm(lambda: run_to(model.module, example, [layer.name]))


def thumbnails_of(model: Model, x: torch.Tensor) -> Array:
    """Preprocessed (N, C, H, W) -> the center square, area-averaged, uint8 (N, 64, 64, 3)."""
    rows, columns = x.shape[2:]
    side = min(rows, columns)
    top, left = (rows - side) // 2, (columns - side) // 2
    pixels = model.to_pixels(x[:, :, top : top + side, left : left + side])
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.stack([np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BOX)) for p in pixels])
