"""`report`: run the methods, make the page, and write it in one piece."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from ..arguments import checks_arguments
from ..embedding.source import is_source, is_stored
from ..errors import ParameterError
from ..images import ImageSet, load_images
from ..models import Model, are_tensors, as_model
from ..outputs import check_output, replace_file
from ..progress import StageProgress
from ..results import UnitPage
from ..store.keys import path_of
from ..targets import Target
from .collection import open_collection
from .contents import Contents, compose
from .limits import Limits
from .map_page import is_map_of
from .report_page import page
from .report_rows import rows_as_json

MAP_FILE = "map.html"  # as `Projection.save` calls it


@checks_arguments
def report(
    model: Model | nn.Module,
    images: Any = None,
    *,
    output: str | Path,
    collection: Any = None,
    target: Target = None,
    layer: str | Sequence[str] | None = None,
    methods: str | Sequence[str] | None = None,
    units: Sequence[UnitPage] = (),
    n_images: int = 12,
    n_errors: int = 24,
    n_suspects: int = 24,
    n_duplicates: int = 12,
    as_json: bool = False,
    progress: StageProgress | None = None,
    overwrite: bool = False,
) -> Path:
    """Look at a network from all sides and write the results into one HTML file.

    The report shows the predictions, attribution maps and how good they are, feature maps, the first filters, and
    an input that each class likes. With ``collection`` it shows how often the network is right, its errors with a
    map of each, suspect labels, duplicates, each class, the nearest neighbors and a map of all images. It is
    written for readers who know nothing of networks: pictures come first, and "more" has the rest. The file is
    self-contained, needs no connection, and follows the reader's light or dark mode.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) counts as preprocessed, also signals, volumes
            and several inputs, of which there are no feature maps and no visualizations. None, with a collection
            of files, chooses examples from it.
        output: path of the HTML file. Its folder is created if needed; an older report is replaced.
        collection: where to look for neighbors: a folder or other images, or vectors that this network has made
            before, as `Embeddings`, an `EmbeddingStore`, or the path of either. A store is only read, and its
            vectors and predictions are taken as they are. `Embeddings` know no predictions, so that nothing is
            said of accuracy and errors. If a map.html of the same images lies in the folder of the output, as
            `convscope project` writes one, the report links to it.
        target: what the maps explain and what is visualized; by default the class predicted for each image.
        layer: the name or names of the layers whose feature maps are shown; by default one layer of each
            resolution, at most 4.
        methods: names of `convscope.ATTRIBUTIONS`, or "all"; by default occlusion, Grad-CAM and saliency. A method
            that does not fit the network is left out, and the report says why. Each map is measured by deletion
            and insertion, beside a random map.
        units: pages of `convscope.unit`; each has its place, ``#unit-LAYER-CHANNEL``, with links between nearest
            channels.
        n_images: images to show in detail, at most; the report says how many are left out.
        n_errors: wrong predictions to show, at most, the most confident first.
        n_suspects: suspect labels to show, at most, the most doubtful first.
        n_duplicates: groups of duplicates to show, at most, the largest first.
        as_json: also write the rows behind the page, all of them, to a file of the same name that ends in .json.
        progress: called with (stage, done, total); a stage is "occlusion", "embed" and so on. Other functions do
            not pass a stage, as they run one method only.
        overwrite: also replace a file that convscope did not write, but never an input, such as one of the images
            or the table that lists them.

    Returns:
        The path of the file.

    Raises:
        ParameterError, StoreError: there are neither images nor a collection; the collection was embedded by
            another network, or has fewer than two images. Raised before the long work starts.
        OutputError: the output is a folder or a file that convscope did not write, or cannot be written. Raised
            before the long work starts.
        ImageError, LayerError, TargetError: raised by the methods.

    Cost: an image takes about 169 forward passes for occlusion and 150 to measure its maps, a class 32 forward and
        backward passes of 2 views for its picture, an error or a doubted label one forward and one backward pass.
        A folder of images is embedded, one forward pass an image; vectors that are there already are not computed
        again.
    """
    output = Path(output)
    model = as_model(model)
    if images is None and collection is None:
        raise ParameterError("a report needs images, or a collection to choose examples from")
    is_tensor = isinstance(images, Tensor) or (model.several is not None and are_tensors(images))
    if images is not None and not is_tensor:
        images = load_images(images)
    collection = None if collection is None else open_collection(collection, model)
    pages = [output, output.with_suffix(".json")][: 1 + as_json]
    for one in pages:
        check_output(one, inputs=_inputs(images, collection), overwrite=overwrite)
    contents = compose(
        model,
        images,
        collection=collection,
        target=target,
        layer=layer,
        methods=methods,
        limits=Limits(n_images, n_errors, n_suspects, n_duplicates),
        progress=progress,
    )
    contents = replace(contents, units=tuple(units))
    writers: list[Callable[[Contents], str]] = [
        partial(page, map_file=_map_beside(output, contents)),
        rows_as_json,
    ]
    for one, write in zip(pages, writers, strict=False):
        replace_file(one, [write(contents)], inputs=_inputs(images, collection), overwrite=overwrite)
    return output


def _map_beside(output: Path, contents: Contents) -> str | None:
    """The name of the map in the folder of the report, if it shows the images of the collection."""
    beside = output.with_name(MAP_FILE)
    if contents.collection is None or not is_map_of(beside, contents.collection.map_names):
        return None
    return beside.name


def _inputs(*given: Any) -> Iterator[str]:
    """The names of everything that is read and has a name; needed only where the output exists already."""
    for one in given:
        names = one.by_path("stamp") if is_source(one) and is_stored(one) else getattr(one, "names", ())
        yield from map(path_of, names)
        if isinstance(one, ImageSet):
            yield from map(str, one.tables)
            pictures = (source.content for source in one.sources if isinstance(source.content, Image.Image))
            yield from (os.fsdecode(getattr(picture, "filename", "")) for picture in pictures)
