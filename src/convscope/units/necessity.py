"""`necessity`: what the class scores and the accuracy of a network lose without a channel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from ..arguments import checks_arguments
from ..checks import InputShape
from ..errors import Interrupted, LayerError, ParameterError, TargetError
from ..execution import evaluating, in_batches, kept_outputs
from ..models import Batch, Layer, Model, as_maps, as_model
from ..perturbation import finite
from ..progress import Progress
from ..results import Array, Necessity, Provenance
from ..targets.classes import class_names, class_scores
from .effect_sums import EffectSums
from .heads import Head, layer_to_cut
from .layer_values import channels_of, mean_values
from .scanned_images import ScannedImages, classes_of

By: TypeAlias = Literal["labels", "predictions"]


@checks_arguments
def necessity(
    model: Model | nn.Module,
    images: Any,
    *,
    layer: str,
    channels: Any = None,
    labels: Sequence[str | int | None] | None = None,
    progress: Progress | None = None,
) -> Necessity:
    """What the class scores and the accuracy of a network lose without a channel.

    The channel's map is replaced, in every image, by one number: its mean over all places of all images. So it no
    longer tells the images, or their places, apart, and what follows is in its usual range.

        effect_k = mean over images x of class k of [S_k(x) - S_k(x with the channel at its mean)]

    Over all images the effect on a score would cancel out: near the output, where scores are nearly linear in the
    channel, the mean does to scores as well.

    Args:
        model: a `Model` or a module.
        images: a folder, files, or what `convscope.load_images` takes; a preprocessed tensor (N, C, H, W), signals
            or volumes; or an `EmbeddingStore`.
        layer: a name from `Model.layers`: maps, tokens or a vector.
        channels: one from 0, or several, each taken out alone; by default all of the layer.
        labels: a class for each image, as an index or a label, or None for an image without. By default the labels
            that the images bring, as far as they name classes. Where there are none, an image counts for the class
            that the network predicts.
        progress: called with (images done, images in all); each image counts twice.

    Returns:
        `Necessity`: effects in score units, above 0 where a class needs the channel, and what stays right.

    Raises:
        LayerError: there is no such layer, or it is the network's input or output.
        TargetError: one of ``labels`` is no class.
        ModelError: the network does not return class scores.
        Interrupted: Ctrl-C; its ``result`` is of the images done.

    Cost: two forward passes an image, the first up to the layer; for each channel and image the network behind the
    layer, in batches, or all of it where something flows past the layer. Channels that are at their mean
    everywhere in an image, such as dead ones, cost nothing.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
        >>> found = necessity(net, torch.randn(6, 3, 8, 8), layer="1", channels=[0, 2], labels=[0, 1] * 3)
        >>> found.effects.shape, found.accuracy_without.shape
        ((2, 2), (2,))

    References: mean ablation: Wang et al. 2022, arXiv 2211.00593. Class accuracy without single units: Bau et al.
    2020, arXiv 2009.05041.
    """
    started = time.perf_counter()
    model, images = as_model(model).bound(images)
    given = ScannedImages(model, images, None)
    place = layer_to_cut(model, given.shape, layer)
    chosen = channels_of(channels, place.shape[0], place.name)
    if labels is not None and len(labels) != len(given):
        raise ParameterError(f"labels: {len(labels)} for {len(given)} images; give one, or None, for each")
    codes, notes = classes_of(labels, given.labels, model.labels)
    by: By = "labels" if (codes >= 0).any() else "predictions"
    inputs = given.inputs(range(len(given)))

    def step(n_done: int) -> None:
        if progress:
            progress(n_done, 2 * len(given))

    def result(sums: EffectSums, *further: str) -> Necessity:
        about = model.provenance(
            "necessity",
            {"layer": place.name, "channels": [int(channel) for channel in chosen]},
            started,
            notes=(*inputs.notes, *notes, *further),
            skipped=inputs.skipped,
        )
        return _result(sums, place.name, chosen, means, model.labels, by, about)

    sums: EffectSums | None = None
    with evaluating(model.module):
        means = mean_values(model, inputs, place.name, lambda tensor: as_maps(tensor, place), step)[chosen]
        rest = _Rest(model, place, given.shape, chosen, means)
        inputs = given.inputs(range(len(given)))
        try:
            for batch in model.batches(inputs):
                found = rest.effects(batch, codes[list(batch.positions)] if by == "labels" else None)
                sums = found if sums is None else sums.plus(found)
                step(len(given) + batch.positions[-1] + 1)
        except KeyboardInterrupt:
            if sums is None:
                raise
            cut = f"interrupted after {len(sums.names)} of {len(given)} images"
            raise Interrupted(result(sums, cut)) from None
    assert sums is not None
    step(2 * len(given))  # the last images may have been skipped
    return result(sums)


def _result(
    sums: EffectSums,
    layer: str,
    channels: Array,
    means: Array,
    labels: Sequence[str] | None,
    by: By,
    provenance: Provenance,
) -> Necessity:
    """Means over the images of each class of which there are any."""
    classes, there = class_names(labels, len(sums.counts)), np.flatnonzero(sums.counts)
    return Necessity(
        layer=layer,
        channels=channels,
        means=means.astype(np.float32),
        classes=tuple(classes[i] for i in there),
        by=by,
        counts=sums.counts[there],
        effects=(sums.falls[:, there] / sums.counts[there]).astype(np.float32),
        right=sums.right[there],
        right_without=sums.right[there] - sums.lost[:, there],
        names=sums.names,
        provenance=provenance,
    )


class _Rest:
    """The network behind a layer, run on its output with single channels held at their means."""

    def __init__(self, model: Model, place: Layer, shape: InputShape, channels: Array, means: Array) -> None:
        self._model, self._place, self._head = model, place, Head(model, place, shape)
        self._channels = torch.as_tensor(channels, device=model.device)
        self._means = torch.as_tensor(means, device=model.device).to(model.dtype)
        self._needs_images: bool | None = None

    def effects(self, batch: Batch, codes: Array | None) -> EffectSums:
        """What the images of a batch lose; ``codes`` (n,) are their classes, or -1, by default those predicted."""
        with kept_outputs(self._model.module, [self._place.name]) as found:
            scores = class_scores(self._model.module(batch.x.clone()), len(batch.x))
        like = found[self._place.name]
        self._look_past(like, scores)
        before = finite(scores, batch.names).double().cpu().numpy()
        codes = before.argmax(axis=1) if codes is None else codes
        if codes.max() >= before.shape[1]:
            raise TargetError(f"labels: class {codes.max()}; the network has classes 0 to {before.shape[1] - 1}")
        sums = EffectSums.start(batch.names, codes, before, len(self._channels))
        maps = as_maps(like, self._place)
        held = self._means.reshape(-1, *(1 for _ in maps.shape[2:]))
        counts = torch.as_tensor(codes >= 0, device=maps.device)[:, None]
        is_other = counts & (maps[:, self._channels] != held).reshape(len(maps), len(held), -1).any(dim=2)
        pairs = is_other.nonzero()

        def run(first: int, end: int) -> None:
            image, row = pairs[first:end].T
            own = like.index_select(self._head.rows_along, image)
            # A view of the layer's own output, so that tokens of no patch stay.
            as_maps(own, self._place)[torch.arange(len(image)), self._channels[row]] = held[row].expand(
                len(image), *maps.shape[2:]
            )
            output = self._head.outputs(own, batch.x[image] if self._needs_images else None)
            after = finite(class_scores(output, len(image)), [batch.names[i] for i in image.tolist()])
            at = image.cpu().numpy()
            sums.add(row.cpu().numpy(), codes[at], before[at], after.double().cpu().numpy())

        for _ in in_batches(len(pairs), self._head.at_once, run):
            pass
        return sums

    def _look_past(self, like: torch.Tensor, scores: torch.Tensor) -> None:
        """Find out, at the first image, whether something flows past the layer and its images have to be run."""
        if self._needs_images is not None:
            return
        one = like.narrow(self._head.rows_along, 0, 1)
        try:
            self._head.check(one, lambda output, n: class_scores(output, n), scores[0])
            self._needs_images = False
        except LayerError:
            self._needs_images = True
