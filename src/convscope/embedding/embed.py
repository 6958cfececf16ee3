"""`embed`: many images to feature vectors, in memory or in a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, overload

from torch import nn

from ..arguments import checks_arguments
from ..checks import Engine, check_address
from ..errors import ParameterError
from ..models import Model, as_model
from ..progress import Progress
from ..store import EmbeddingStore, VectorType
from .embeddings import Embeddings
from .features import Precision
from .in_memory import embed_in_memory


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
    engine: Engine = "local",
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
    engine: Engine = "local",
    address: str | None = None,
    progress: Progress | None = None,
) -> Embeddings | EmbeddingStore:
    """Feature vectors of images: what a late layer makes of them.

    Two images that the network thinks are alike have vectors that point the same way, however different their
    pixels are. An image's vector is the layer's output; of a spatial layer, each channel's mean over the map.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed, and with ``store``
            also a ``DataLoader`` of such. A file of a folder that cannot be read is left out and listed in
            ``provenance.skipped``; in a store its row says why.
        layer: a name from `Model.layers`; by default what the classifier takes in. In torchvision's VGG and
            AlexNet, "classifier.4" gives the 4096 values of the last hidden layer.
        store: where to keep the vectors, a folder or an address like "s3://bucket/photos.lance". What is in it
            and has not changed is not embedded again, so that a run that was killed goes on where it stood.
        vectors: how a store holds them; "float16" takes half the space.
        precision: what the network computes with; "bfloat16" is faster where the processor knows it.
        compiled: compile the network first, which takes a minute and pays from some thousand images on.
        engine: "ray" fills a store by the workers of a Ray cluster, which needs ``convscope[ray]``; the rows are
            the same.
        address: of the cluster; by default Ray runs on this machine.
        progress: called with (images done, images in all).

    Returns:
        `Embeddings` with vectors (N, D) float32, raw activations; or the `EmbeddingStore`.

    Raises:
        LayerError: there is no such layer, or no layer with weights to choose by default.
        ImageError: an image that is not in a folder cannot be read, or none can.
        StoreError: the store is of another network, or no store.
        Interrupted: Ctrl-C after the first batch; its ``result`` holds the `Embeddings` made so far.

    Cost: one forward pass an image, only as far as the layer. Besides the result, memory for one batch.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
        >>> embed(net, torch.zeros(5, 3, 8, 8)).vectors.shape
        (5, 144)
    """
    model = as_model(model)
    check_address(address, engine)
    if engine == "ray":
        if store is None or compiled:
            raise ParameterError("engine='ray' fills a store, and not with compiled=True")
        from .distributed import fill_by_ray

        options: dict[str, Any] = {"vectors": vectors, "precision": precision, "address": address}
        return fill_by_ray(store, model, images, layer=layer, progress=progress, **options)
    if store is not None:
        from .filling import fill

        options = {"vectors": vectors, "precision": precision, "compiled": compiled}
        return fill(store, model, images, layer=layer, progress=progress, **options)
    return embed_in_memory(model, images, layer, precision, compiled, progress)
