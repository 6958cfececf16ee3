"""`embed`: many images to feature vectors, in memory or in a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, overload

from torch import nn

from ..arguments import checks_arguments
from ..checks import Precision, Runner, check_address
from ..errors import ParameterError
from ..models import Model, as_model
from ..progress import Progress
from ..store import EmbeddingStore, VectorType
from .embeddings import Embeddings
from .extracting import extract_each
from .features import Extractor
from .filling import Filling
from .in_memory import embed_in_memory
from .ray_filling import fill_by_ray
from .supply import supply_of


@overload
def embed(
    model: Model | nn.Module,
    images: Any,
    *,
    layer: str | None = None,
    store: None = None,
    precision: Precision = "float32",
    compiled: bool = False,
    progress: Progress | None = None,
) -> Embeddings: ...
@overload
def embed(
    model: Model | nn.Module,
    images: Any,
    *,
    layer: str | None = None,
    store: str | Path,
    vectors: VectorType = "float32",
    precision: Precision = "float32",
    compiled: bool = False,
    runner: Runner = "local",
    address: str | None = None,
    progress: Progress | None = None,
) -> EmbeddingStore: ...
@checks_arguments
def embed(
    model: Model | nn.Module,
    images: Any,
    *,
    layer: str | None = None,
    store: str | Path | None = None,
    vectors: VectorType = "float32",
    precision: Precision = "float32",
    compiled: bool = False,
    runner: Runner = "local",
    address: str | None = None,
    progress: Progress | None = None,
) -> Embeddings | EmbeddingStore:
    """Compute the feature vectors of images: the output of a late layer.

    Two images that the network thinks are alike have vectors that point the same way, however different their
    pixels are. Of a spatial layer, the vector is each channel's mean over the map.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W), of signals (N, C, L), of volumes (N, C, D, H,
            W), or a ``DataLoader`` of such batches is taken as preprocessed. Of several inputs a dict or a tuple
            of tensors with N rows. A file of a folder that cannot be read is left out and listed in
            ``provenance.skipped``; in a store its row says why.
        layer: a name from `Model.layers`; by default the input of the classifier. In torchvision's VGG and
            AlexNet, "classifier.4" gives the 4096 values of the last hidden layer.
        store: where to keep the vectors: a folder, or an address like "s3://bucket/photos.lance". Only new and
            changed images are embedded, so a run that was killed goes on where it stopped.
        vectors: how a store holds them; "float16" takes half the space.
        precision: of the network's computation; "bfloat16" is faster on processors that support it.
        compiled: compile the network first, which takes a minute and pays off from some thousand images on.
        runner: "ray" has the workers of a Ray cluster fill a store, with the same rows; needs ``convscope[ray]``.
        address: of the cluster; by default Ray is started on this machine.
        progress: called with (images done, images in all).

    Returns:
        `Embeddings` with vectors (N, D) float32, raw activations; or the `EmbeddingStore`.

    Raises:
        LayerError: there is no such layer, or no layer with weights to choose by default.
        ImageError: an image that was named itself, not found in a folder, cannot be read; or none can.
        StoreError: another network made the store, or the place holds something else.
        ParameterError: a store for a network with several inputs, of which some are not given.
        Interrupted: Ctrl-C after the first batch, in memory; its ``result`` holds the `Embeddings` made so far. A
            store keeps what was computed.

    Cost: one forward pass an image, only as far as the layer unless a store keeps predictions, too. Besides the
    result, memory for one batch.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
        >>> embed(net, torch.zeros(5, 3, 8, 8)).vectors.shape
        (5, 144)
    """
    model, images = as_model(model).together(images)
    if store is not None:
        _refuse_held(model)
    check_address(address, runner)
    if runner == "ray" and (store is None or compiled):
        raise ParameterError("runner='ray' fills a store, and not with compiled=True")
    if store is None:
        options: dict[str, Any] = {"layer": layer, "precision": precision, "compiled": compiled}
        return embed_in_memory(model, images, progress=progress, **options)
    supply = supply_of(model, images, store)
    extractor = Extractor.at(model, supply.shape, layer, precision=precision, compiled=compiled, scores=True)
    if runner == "ray":
        return fill_by_ray(supply, extractor, store, vectors, address=address, progress=progress)
    filling = Filling(store, extractor, vectors)
    extract_each(supply, extractor, filling, progress)
    return filling.result()


def _refuse_held(model: Model) -> None:
    """A store knows a row by the content of what was given: vectors with other values held would look the same."""
    several = model.several
    held = [] if several is None else [name for name in several.values if name not in model.explained]
    if held:
        raise ParameterError(
            f"a store keeps vectors of what is given, and {', '.join(held)} would be held: give all inputs, each "
            "as a floating-point tensor with a row for each image, or use no store"
        )
