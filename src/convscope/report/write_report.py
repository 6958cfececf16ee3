"""`report`: run the methods, make the page, and write it in one piece."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from ..arguments import checks_arguments
from ..embedding.source import is_source, is_stored
from ..images import ImageSet, load_images
from ..models import Model, are_tensors, as_model
from ..outputs import check_output, replace_file
from ..progress import StageProgress
from ..results import UnitPage
from ..store.keys import path_of
from ..targets import Target
from .collection import open_collection
from .contents import compose
from .report_page import page


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
    units: Sequence[UnitPage] = (),
    progress: StageProgress | None = None,
    overwrite: bool = False,
) -> Path:
    """Look at a network from all sides and write the results into one HTML file.

    The report shows the predictions, attribution maps and how good they are, feature maps, the first filters, an
    input that each class likes, and with ``collection`` the nearest neighbors and a map of that collection. The
    file is self-contained, needs no connection, and follows the reader's light or dark mode.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) counts as preprocessed, also signals, volumes
            and several inputs, of which there are no feature maps and no visualizations. The first 12 are shown in
            detail, and the report says how many are left out.
        output: path of the HTML file. Its folder is created if needed; an older report is replaced.
        collection: where to look for neighbors: a folder or other images, or vectors that this network has made
            before, as `Embeddings`, an `EmbeddingStore`, or the path of either. A store is only read.
        target: what the maps explain and what is visualized; by default the class predicted for each image.
        layer: the name or names of the layers whose feature maps are shown; by default one layer of each
            resolution, at most 4.
        methods: names of `convscope.ATTRIBUTIONS`, or "all"; by default occlusion, saliency, integrated gradients
            and Grad-CAM. A method that does not fit the network is left out, and the report says why. Each map is
            measured by deletion and insertion, beside a random map.
        units: pages of `convscope.unit`; each has its place, ``#unit-LAYER-CHANNEL``, with links between nearest
            channels.
        progress: called with (stage, done, total); a stage is "occlusion", "embed" and so on. Other functions do
            not pass a stage, as they run one method only.
        overwrite: also replace a file that convscope did not write, but never an input, such as one of the images
            or the table that lists them.

    Returns:
        The path of the file.

    Raises:
        ParameterError, StoreError: the collection was embedded by another network, or has fewer than two images;
            raised before the long work starts.
        OutputError: the output is a folder or a file that convscope did not write, or cannot be written; raised
            before the long work starts.
        ImageError, LayerError, TargetError: raised by the methods.

    Cost: mostly occlusion, with 169 forward passes per image, and visualization, with 64 forward and backward
        passes of 4 views per class.
    """
    output = Path(output)
    model = as_model(model)
    if not isinstance(images, Tensor) and not (model.several is not None and are_tensors(images)):
        images = load_images(images)
    collection = None if collection is None else open_collection(collection, model)
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
    contents = replace(contents, units=tuple(units))
    replace_file(output, [page(contents)], inputs=_inputs(images, collection), overwrite=overwrite)
    return output


def _inputs(*given: Any) -> Iterator[str]:
    """The names of everything that is read and has a name; needed only where the output exists already."""
    for one in given:
        names = one.by_path("stamp") if is_source(one) and is_stored(one) else getattr(one, "names", ())
        yield from map(path_of, names)
        if isinstance(one, ImageSet):
            yield from map(str, one.tables)
            pictures = (source.content for source in one.sources if isinstance(source.content, Image.Image))
            yield from (os.fsdecode(getattr(picture, "filename", "")) for picture in pictures)
