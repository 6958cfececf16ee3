"""`report`: run the methods, make the page, write it in one go."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from ..arguments import checks_arguments
from ..embedding.source import is_source, is_stored
from ..images import ImageSet, load_images
from ..models import Model, as_model
from ..outputs import check_output, replace_file
from ..store.keys import path_of
from ..targets import Target
from .collect import opened
from .compose import StageProgress, compose
from .page import page


@checks_arguments
def report(
    model: Model | nn.Module,
    images: Any,
    *,
    output: str | Path,
    collection: Any = None,
    target: Target = None,
    layer: str | Sequence[str] | None = None,
    methods: str | Sequence[str] | None = None,
    progress: StageProgress | None = None,
    overwrite: bool = False,
) -> Path:
    """Look at a network from all sides and write what is seen into one HTML file.

    The file holds everything it shows, needs no connection, and follows the reader's light or dark mode: the
    predictions, attribution maps and how good they are, feature maps, first filters, the pictures that the classes
    like best, and with ``collection`` the nearest neighbors and a map of that collection.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed. The first 12 are
            shown in detail, and the report says so when there are more.
        output: path of the HTML file. Its folder is made; a report that is there is replaced.
        collection: a folder or other images among which neighbors are found; or vectors that this network made
            before: `Embeddings`, an `EmbeddingStore`, or the place of either. A store is read, never written to.
        target: what the maps explain and what is visualized; by default each image's predicted class.
        layer: one name or several, of the layers to show feature maps of; by default one of each resolution, at
            most 4.
        methods: names of `convscope.ATTRIBUTIONS`, or "all"; by default occlusion, saliency, integrated gradients
            and Grad-CAM. One that does not fit the network is left out, and the report says why. Each map is
            measured by deletion and insertion, beside a map of chance.
        progress: called with (stage, done, total), where the stage is "occlusion", "embed" and so on. Unlike
            elsewhere it takes the name of the stage, as one call runs many methods.
        overwrite: replace a file, too, that convscope did not write; never what is read, such as one
            of the images or the table that lists them.

    Returns:
        The path of the file.

    Raises:
        ParameterError, StoreError: the collection was embedded by another network, or is of fewer than two images;
            known before the long work starts.
        OutputError: the output is a folder, a file that convscope did not write, or cannot be written; known
            before the long work starts.
        ImageError, LayerError, TargetError: as the methods raise them.

    Cost: mostly occlusion, 169 forward passes an image, and 256 forward and backward passes for each class
        visualized.
    """
    output = Path(output)
    images = images if isinstance(images, Tensor) else load_images(images)
    model = as_model(model)
    collection = None if collection is None else opened(collection, model)
    check_output(output, inputs=_inputs(images, collection), overwrite=overwrite)
    contents = compose(
        model,
        images,
        collection=collection,
        target=target,
        layer=layer,
        methods=methods,
        progress=progress,
    )
    replace_file(output, [page(contents)], inputs=_inputs(images, collection), overwrite=overwrite)
    return output


def _inputs(*given: Any) -> Iterator[str]:
    """What is read, as far as it has names, files among them; looked up only where the output is there already."""
    for one in given:
        names = one.by_path("stamp") if is_source(one) and is_stored(one) else getattr(one, "names", ())
        yield from map(path_of, names)
        if isinstance(one, ImageSet):
            yield from map(str, one.tables)
            pictures = (source.content for source in one.sources if isinstance(source.content, Image.Image))
            yield from (os.fsdecode(getattr(picture, "filename", "")) for picture in pictures)
