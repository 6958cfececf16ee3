"""`feeds`: which channels of the layer before feed a channel."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..arguments import checks_arguments
from ..errors import ImageError
from ..execution import evaluating
from ..images import ImageSet, ImageSource
from ..models import Inputs, Model, as_model
from ..progress import Progress
from ..results import Array, Feeds, UnitScan
from .layer_values import channels_of, mean_values
from .scanned_images import ScannedImages, check_scanned
from .wiring import Wiring, wiring_of


@checks_arguments
def feeds(
    model: Model | nn.Module,
    images: Any,
    *,
    layer: str,
    channel: Any = None,
    progress: Progress | None = None,
) -> Feeds:
    """Which channels of the layer before feed a channel most: what each adds to its mean.

    A channel is a weighted sum of the channels that its convolution reads. How much one of them adds, on average
    over images, is its weight times its mean activation:

        contribution_s = (sum over the kernel of w_s) * scale * mean of a_s

    with the scale of the batch norm right behind the convolution. Contributions and ``biases`` add up to the
    channel's mean before its activation, up to borders, where part of a kernel lies outside, and to strides that
    leave places out.

    Args:
        model: a `Model` or a module.
        images: as in `scan`; or a `UnitScan` of the network. If the layer that the convolution reads was scanned,
            the scan's means are taken and no image is run; otherwise its images are opened by their names, which
            are paths.
        layer: whose channels: the output of a convolution or dense layer, or of a batch norm, an activation or a
            pooling that follows it.
        channel: one from 0, or several; by default all of the layer, which costs no more.
        progress: called with (images done, images in all).

    Returns:
        `Feeds`; its ``top(channel, k)`` has the largest contributions, with their signs.

    Raises:
        LayerError: the layer's channels are not those of one convolution, as behind the sum of a residual block,
            or the convolution reads no layer: the message says which operation is in between.
        ImageError: a scan's images are not files any more.
        ModelError: another network was scanned.

    Cost: one forward pass an image up to the convolution, whatever the number of channels; none with a scan of the
    layer that it reads.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.ReLU())
        >>> found = feeds(net, torch.randn(6, 3, 8, 8), layer="3", channel=2)
        >>> found.source, found.convolution, found.contributions.shape
        ('1', '2', (1, 4))

    References: weights times activations as links between units: Olah et al. 2020, Distill,
    doi 10.23915/distill.00024.001.
    """
    started = time.perf_counter()
    model, images = as_model(model).bound(images)
    if isinstance(images, UnitScan):
        check_scanned(model, images)
        shape, inputs = tuple(images.input_shape), None
    else:
        given = ScannedImages(model, images, None)
        shape, inputs = given.shape, given.inputs(range(len(given)))
    wiring = wiring_of(model, shape, layer)
    name = model.checked(shape).find(layer).name
    chosen = channels_of(channel, len(wiring.weights), name)
    notes = [] if wiring.is_exact else ["borders and strides of the convolution are not counted"]
    scanned = next((each for each in wiring.same if isinstance(images, UnitScan) and each in images.layers), None)
    if scanned is not None:
        means = np.asarray(images.means[scanned], np.float64)
        notes.append(f"means of {len(images)} images, from the scan")
    else:
        inputs = model.inputs(_files_of(images, wiring)) if inputs is None else inputs
        means = _means(model, inputs, wiring, progress)
        notes += inputs.notes
    return Feeds(
        layer=name,
        convolution=wiring.convolution,
        source=wiring.source,
        sources=wiring.sources,
        channels=chosen,
        weights=wiring.weights[chosen].numpy(),
        means=means,
        biases=wiring.biases[chosen].numpy(),
        provenance=model.provenance(
            "feeds",
            {"layer": name, "channel": [int(c) for c in chosen]},
            started,
            notes=notes,
            skipped=() if inputs is None else inputs.skipped,
        ),
    )


def _means(model: Model, inputs: Inputs, wiring: Wiring, progress: Progress | None) -> Array:
    """The mean of each channel that the convolution reads."""

    def step(n_done: int) -> None:
        if progress:
            progress(n_done, len(inputs))

    with evaluating(model.module):
        means = mean_values(model, inputs, wiring.read, lambda tensor: tensor, step)
    step(len(inputs))  # the last images may have been skipped
    return means


def _files_of(scan: UnitScan, wiring: Wiring) -> ImageSet:
    """The images of a scan, from their files."""
    if missing := [name for name in scan.names if not Path(name).is_file()]:
        raise ImageError(
            f"{missing[0]}: no such file, and layer {wiring.source!r} was not scanned; give the images in place "
            "of the scan, or scan this layer, too"
        )
    return ImageSet([ImageSource(name, Path(name)) for name in scan.names], skip_errors=True)
