"""`report`: run the methods, make the page, write it in one go."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import OutputError
from ..models import Model, Target, as_model
from .compose import StageProgress, compose
from .page import page


def report(
    model: Model | nn.Module,
    images: Any,
    *,
    output: str | Path,
    collection: Any = None,
    target: Target = None,
    layer: str | Sequence[str] | None = None,
    progress: StageProgress | None = None,
) -> Path:
    """Look at a network from all sides and write what is seen into one HTML file.

    The file holds everything it shows, needs no connection, and follows the reader's light or dark mode: the
    predictions, occlusion and saliency maps, feature maps, first filters, the pictures that the classes like
    best, and with ``collection`` the nearest neighbors and a map of that collection.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed. The first 12 are
            shown in detail, and the report says so when there are more.
        output: path of the HTML file. Its folder is made; a file that is there is replaced.
        collection: a folder or other images, or `Embeddings` made before, among which neighbors are found.
        target: what the maps explain and what is visualized; by default each image's predicted class.
        layer: one name or several, of the layers to show feature maps of; by default one of each resolution, at
            most 4.
        progress: called with (stage, done, total), where the stage is "occlusion", "embed" and so on. Unlike
            elsewhere it takes the name of the stage, as one call runs many methods.

    Returns:
        The path of the file.

    Raises:
        OutputError: the output is a folder, or cannot be written; known before the long work starts.
        ImageError, LayerError, TargetError: as the methods raise them.

    Cost: mostly occlusion, 169 forward passes an image, and 256 forward and backward passes for each class
        visualized.
    """
    output = Path(output)
    _check(output)
    contents = compose(
        as_model(model), images, collection=collection, target=target, layer=layer, progress=progress
    )
    _replace(output, page(contents))
    return output


def _check(output: Path) -> None:
    if output.is_dir():
        raise OutputError(
            f"{output}: is a folder; give the name of an HTML file, such as {output / 'report.html'}"
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: its folder cannot be made ({error.strerror})") from error
    if not os.access(output.parent, os.W_OK):
        raise OutputError(f"{output}: its folder cannot be written to")


def _replace(output: Path, text: str) -> None:
    """Write beside the file and rename, so that a reader finds the old page or the new one, never half of one."""
    partial = None
    try:
        descriptor, partial = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
        # A file name need not be Unicode; what cannot be written is shown as \\udcff.
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.chmod(partial, output.stat().st_mode & 0o777 if output.exists() else 0o644)  # mkstemp makes it private
        os.replace(partial, output)
    except BaseException as error:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError(f"{output}: cannot be written ({error.strerror})") from error
        raise
