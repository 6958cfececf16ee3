"""`unit_patches`: the patches of images at which a channel of a scan peaks, cut out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..arguments import checks_arguments
from ..errors import ImageError
from ..execution import check_differentiable, differentiable, evaluating, run_to
from ..images import ImageSet, ImageSource, load_images
from ..models import Layer, Model, as_maps, as_model
from ..results import Array, Patch, UnitPatches, UnitScan, Which
from .scanned_images import check_scanned

_OUTSIDE = 0.025  # of the sum of |gradient|, beyond each side of an effective field: at least 90 % lies inside
_ALIKE, _ALIKE_IN_HALF = 0.02, 0.08  # of the channel's largest peak: how far that of an unchanged image may be off
_ROUNDING = 1e-5  # of the layer's largest peak, likewise

_FLAT = "the gradient of some peaks is zero, as where ReLU6 is at 6: their boxes are by all channels at that place"


@checks_arguments
def unit_patches(
    model: Model | nn.Module,
    scan: UnitScan,
    layer: str,
    channel: int,
    *,
    images: Any = None,
    k: int = 9,
    which: Which = "top",
) -> UnitPatches:
    """The patches at which a channel peaks, at most one of each image.

    A patch is what the peak depends on: the receptive field. Where that is the whole image, it is the effective
    receptive field: the rectangle with 2.5 % of the sum of |da/dx| beyond each of its four sides, a the peak and x
    the image, so that at least 90 % of the sum is inside. Where the channel is zero at all places, as a ReLU that
    fires nowhere, none of them is its peak, and the patch is the whole image.

    Args:
        model: the network that was scanned.
        scan: of `convscope.scan`.
        layer: one of the scan's.
        channel: from 0.
        images: those that were scanned; by default they are opened by their names, which are paths.
        k: patches, at most.
        which: of the images with the highest peaks ("top"), the "middle" or the "low"est.

    Returns:
        `UnitPatches`.

    Raises:
        ImageError: an image is not there any more or has changed since, or the scan is not of pictures.
        ModelError: another network was scanned.

    Cost: one forward pass for each of k images, up to the layer; for effective fields another one and a backward
    pass.

    Example:
        >>> from convscope import scan
        >>> net, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(6, 3, 8, 8)
        >>> unit_patches(net, scan(net, x, layers="1"), "1", 2, images=x, k=4).boxes.shape
        (4, 4)

    References: effective receptive fields: Luo et al. 2016, arXiv 1701.04128.
    """
    started = time.perf_counter()
    model = as_model(model)
    check_scan(model, scan)
    patches = scan.patches(layer, channel, k, which=which)
    parameters = {"layer": layer, "channel": channel, "k": k, "which": which}
    return cut_patches(model, scan, patches, parameters, images, started)


def check_scan(model: Model, scan: UnitScan) -> None:
    """An error unless the scan is of this network, and of pictures."""
    if len(scan.input_shape) != 3:
        raise ImageError(f"patches are cut out of pictures; this scan is of inputs {scan.input_shape}")
    check_scanned(model, scan)


def cut_patches(
    model: Model,
    scan: UnitScan,
    patches: Sequence[Patch],
    parameters: Mapping[str, Any],
    images: Any,
    started: float,
) -> UnitPatches:
    """Patches of the scan with their pixels; ``parameters`` are those of the call, as for `unit_patches`."""
    layer, channel, which = parameters["layer"], parameters["channel"], parameters["which"]
    inputs = model.inputs(images_of(model, scan, [patch.name for patch in patches], images))
    found = model.checked(tuple(scan.input_shape)).find(layer)
    whole = (0, 0, *scan.input_shape[1:])
    is_exact = any(last - first < side for (first, last, _), side in zip(found.pixels, whole[2:], strict=False))
    pixels, boxes, notes = list[Array](), list[tuple[int, ...]](), list[str]()
    for batch in model.batches(inputs, backward=not is_exact):
        pixels.append(model.to_pixels(batch.x))  # before the run, which may change them in place
        here = [patches[i] for i in batch.positions]
        maps = _maps_as_scanned(model, scan, batch.x, found, channel, here)
        fires = [bool(one.any()) for one in maps]
        if is_exact:
            own = [patch.box or whole for patch in here]
        else:
            own = _effective(model, batch.x, found, channel, here, fires, notes)
        boxes += [box if somewhere else whole for box, somewhere in zip(own, fires, strict=True)]
    if inputs.skipped:
        raise ImageError(f"the scan's images cannot be read any more: {inputs.skipped[0]}")
    n_sides = len(found.shape) - 1
    return UnitPatches(
        layer=layer,
        channel=channel,
        which=which,
        field="exact" if is_exact else "effective",
        names=tuple(patch.name for patch in patches),
        labels=tuple(patch.label for patch in patches),
        values=np.array([patch.value for patch in patches], np.float32),
        positions=np.array([patch.position for patch in patches], np.int64).reshape(len(patches), n_sides),
        boxes=np.array(boxes, np.int64),
        images=np.concatenate(pixels),
        provenance=model.provenance("unit_patches", parameters, started, notes=[*inputs.notes, *notes]),
    )


def images_of(model: Model, scan: UnitScan, names: Sequence[str], images: Any) -> ImageSet | torch.Tensor:
    """The scan's images of these names, in their order; ``images`` are those that were scanned, or None."""
    if isinstance(images, torch.Tensor):
        known = {name: i for i, name in enumerate(model.inputs(images).names)}
        _check_known(names, known)
        return images[[known[name] for name in names]]
    if images is not None:
        sources = {source.name: source for source in load_images(images).sources}
        _check_known(names, sources)
        return ImageSet([sources[name] for name in names])
    missing = [name for name in names if not Path(name).is_file()]
    if missing:
        raise ImageError(f"{missing[0]}: no such file; give the scanned images as images=")
    return ImageSet([ImageSource(name, Path(name)) for name in names])


def _check_known(names: Sequence[str], known: Any) -> None:
    missing = [name for name in names if name not in known]
    if missing:
        raise ImageError(f"{missing[0]!r} was scanned but is not among the given images; give those of the scan")


def _maps_as_scanned(
    model: Model, scan: UnitScan, x: torch.Tensor, layer: Layer, channel: int, patches: Sequence[Patch]
) -> Array:
    """The channel's maps (n, *sides); `ImageError` unless they have the peaks that the scan found."""
    with evaluating(model.module):
        maps = as_maps(run_to(model.module, x.clone(), [layer.name])[layer.name], layer)[:, channel]
    own = maps.float().cpu().numpy()
    every, rows = scan.peaks[layer.name], {name: i for i, name in enumerate(scan.names)}
    share = _ALIKE if model.dtype in (torch.float32, torch.float64) else _ALIKE_IN_HALF
    off = share * np.abs(every[:, channel]).max() + _ROUNDING * np.abs(every).max()
    if strange := [patch.name for patch in patches if patch.name not in rows]:
        raise ImageError(f"{strange[0]!r} was not scanned; give what is of the scan's images")
    for patch, one in zip(patches, own, strict=True):
        now, then = float(one[patch.position]), float(every[rows[patch.name], channel])
        if not abs(now - then) <= off:
            raise ImageError(
                f"{patch.name}: channel {channel} of layer {layer.name} is {now:.4g} where the scan found "
                f"{then:.4g}. The image has changed since, or another one has its name: scan again, or give the "
                "scanned images"
            )
    return own


def _effective(
    model: Model,
    x: torch.Tensor,
    layer: Layer,
    channel: int,
    patches: Sequence[Patch],
    fires: Sequence[bool],
    notes: list[str],
) -> list[tuple[int, ...]]:
    """The effective receptive field of each image's peak; meaningless where the channel does not fire."""
    with differentiable(model.module):
        leaf = x.detach().clone().requires_grad_()
        maps = as_maps(run_to(model.module, leaf.clone(), [layer.name])[layer.name], layer)
        places: list[Any] = [(i, slice(None), *patch.position) for i, patch in enumerate(patches)]
        every = torch.stack([maps[place] for place in places])
        check_differentiable(every, model.name)
        sizes = _sizes(every[:, channel], leaf)
        if (is_flat := (sizes.sum(axis=(1, 2)) == 0) & np.array(fires)).any():
            # A unit that is at the upper or the lower end of its range has no gradient; others at its place do.
            sizes[is_flat] = _sizes(every.sum(dim=1), leaf)[is_flat]
            notes.append(_FLAT)
    return [_holding(each) for each in sizes]


def _sizes(values: torch.Tensor, x: torch.Tensor) -> Array:
    """|gradient| (N, H, W) of one value an image, summed over channels; images of a batch are independent."""
    (gradient,) = torch.autograd.grad(values.sum(), x, retain_graph=True)
    return np.asarray(gradient.abs().sum(dim=1).double().cpu().numpy())


def _holding(sizes: Array) -> tuple[int, ...]:
    """The rectangle (top, left, bottom, right) with at most a given share of sizes (H, W) beyond each side."""
    total = sizes.sum()
    if not total > 0:
        return (0, 0, *sizes.shape)
    starts, ends = [], []
    for across in (1, 0):
        shares = sizes.sum(axis=across) / total
        starts.append(int(np.argmax(np.cumsum(shares) > _OUTSIDE)))
        ends.append(len(shares) - int(np.argmax(np.cumsum(shares[::-1]) > _OUTSIDE)))
    return (*starts, *ends)
