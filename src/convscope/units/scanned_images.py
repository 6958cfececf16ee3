"""The images of a scan: their names, their labels, and what tells whether one has changed since."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import ImageError, ModelError, ParameterError, TargetError
from ..execution import weights_digest
from ..execution.running import network_of
from ..images import ImageSet, ImageSource, load_images
from ..models import Inputs, Model
from ..results import Array, UnitScan
from ..store import StoredRows
from ..store.keys import as_key, digest_of, key_of, path_of, stamp_of
from ..targets.classes import find_class
from ..texts import listed


class ScannedImages:
    """Images of any form, some of which are read at a time.

    Args:
        model: whose inputs they become.
        images: see `convscope.scan`.
        labels: one for each image in place of those that they bring, or None.
    """

    def __init__(self, model: Model, images: Any, labels: Sequence[str | None] | None) -> None:
        self._model = model
        self._tensor = images if isinstance(images, torch.Tensor) else None
        self._set = None if self._tensor is not None else _set_of(images)
        # A tensor as a whole, of which the model checks the shape.
        inputs = model.inputs(images) if self._set is None else self.inputs(range(len(self._set)))
        self.names, self.shape = inputs.names, inputs.shape
        own = (None,) * len(self.names) if self._set is None else self._set.labels
        if labels is not None and len(labels) != len(self.names):
            raise ParameterError(
                f"labels: {len(labels)} for {len(self.names)} images; give one, or None, for each"
            )
        self.labels = own if labels is None else tuple(labels)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def skips_errors(self) -> bool:
        """Whether an image that cannot be read is left out, or stops the scan."""
        return self._set is not None and self._set.skip_errors

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Folders that could not be read."""
        return () if self._set is None else self._set.unreadable

    @property
    def notes(self) -> tuple[str, ...]:
        return () if self._set is None else (*self._set.notes, *self._set.remarks)

    def inputs(self, numbers: Sequence[int]) -> Inputs:
        """Some of the images for the network."""
        if self._tensor is not None:
            whole = len(numbers) == len(self._tensor)
            return self._model.inputs(self._tensor if whole else self._tensor[list(numbers)])
        assert self._set is not None
        return self._model.inputs(self._set.of([self._set.sources[i] for i in numbers]))

    def keys(self) -> list[str]:
        """What each is known by on disk: a file by its absolute path; of equal names, the later have a number."""
        seen = Counter[str]()
        found = []
        for i, name in enumerate(self.names):
            content = None if self._set is None else self._set.sources[i].content
            key = key_of(content) if isinstance(content, Path) else as_key(name)
            seen[key] += 1
            found.append(key if seen[key] == 1 else f"{key} (the same name, number {seen[key]})")
        return found

    def stamps(self) -> Iterator[str]:
        """A text for each image that changes when the image does."""
        for i in range(len(self)):
            if self._tensor is not None:
                yield digest_of(self._tensor[i].detach().float().cpu().numpy()) or ""
            else:
                assert self._set is not None
                yield stamp_of(self._set.sources[i].content) or ""


def check_scanned(model: Model, scan: UnitScan) -> None:
    """`ModelError` unless this is the network of the scan, which sees images as it did then."""
    made_by = scan.provenance.model
    if weights_digest(network_of(model.module)) != made_by["weights_sha256"]:
        raise ModelError(
            f"{model.name} has other weights than the network of this scan, {made_by['name']}; give that one"
        )
    if model.preprocessing is None or made_by["preprocessing"] is None:  # tensors, which are taken as they are
        return
    own, then = asdict(model.preprocessing), made_by["preprocessing"]
    if differ := [name for name in own if json.dumps(own[name]) != json.dumps(then[name])]:  # lists, once saved
        raise ModelError(
            f"{model.name} does not see images as it did in the scan; give the scan's "
            + ", ".join(f"{name}={then[name]}" for name in differ)
        )


def classes_of(
    labels: Sequence[str | int | None] | None, own: Sequence[str | None], known: Sequence[str] | None
) -> tuple[Array, tuple[str, ...]]:
    """The class of each image, or -1, and a note on labels that the images bring and that name no class."""
    found, strange = list[int](), dict[str, None]()
    for label in own if labels is None else labels:
        try:
            found.append(-1 if label is None else find_class(label, None, known))
        except TargetError:
            if labels is not None:
                raise
            found.append(-1)
            strange[str(label)] = None
    some = listed(list(strange), 5)
    notes = (f"labels that name no class of the network, and do not count: {some}",) if strange else ()
    return np.array(found), notes


def labeled(images: Any, label: str) -> ImageSet:
    """Those of some images that have a label; `ImageError` if none has."""
    if isinstance(images, torch.Tensor):
        raise ImageError(f"label={label!r}: a tensor has no labels; give the images of one label alone")
    every = _set_of(images)
    chosen = [source for source in every.sources if source.label == label]
    if not chosen:
        known = listed(sorted({str(one) for one in every.labels if one is not None}), 12)
        raise ImageError(f"label={label!r}: no image has it; there are {known or 'none'}")
    return every.of(chosen)


def _set_of(images: Any) -> ImageSet:
    """The images; those of a store by its rows, with the labels that it has."""
    if not isinstance(images, StoredRows):
        return load_images(images)
    rows = zip(images.names, images.labels, strict=True)
    return ImageSet([ImageSource(name, Path(path_of(name)), label) for name, label in rows], skip_errors=True)
