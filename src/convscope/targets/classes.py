"""The classes of a network: their scores, and the class that a caller names by index or label."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from ..errors import ModelError, TargetError
from ..execution.output_parts import are_dicts_of_images, entries_of, listed, scores_in
from ..texts import counted
from .segmentations import is_of_instances

# From the network's output for M inputs (one per image, or variants of a single image) to scores (M,).
OutputScores: TypeAlias = Callable[[Any], torch.Tensor]
_PLURALS = {"class": "classes", "value": "values"}


_FOR_BOXES = "For a detector, give a Detection as target (`detections` lists those of an image). "
_FOR_MAPS = "For a segmentation, give Region(class) or Region.at((row, column)) as target. "


def class_scores(returned: object, n_batch: int | None = None) -> torch.Tensor:
    """The class scores (N, K) in what a network returns for a batch of N images, or `ModelError`.

    One score for each image, (N,), becomes (N, 1).
    """
    output = scores_in(returned)
    if output is None:
        kind = type(returned).__name__
        article = "an" if kind[:1] in "AEIOUaeiou" else "a"
        raise ModelError(
            f"the network returns {article} {kind} in which nothing shows where the class scores (N, K) are; it "
            f"holds {listed(returned)}. {_targets_for(returned)}Name them, as in Model(network, output='logits'), "
            "or give a callable as target"
        )
    if not output.is_floating_point():
        raise ModelError(f"the network returns {output.dtype}, not class scores in floating point; wrap it")
    if output.ndim == 1:
        output = output[:, None]
    if output.ndim != 2:
        raise ModelError(
            f"the network returns a tensor of shape {tuple(output.shape)}, not class scores (N, K). "
            f"{_targets_for(returned) or _FOR_BOXES}For anything else, give a callable that computes N scores "
            "from it, or Model(network, output=CALLABLE) for class scores"
        )
    if n_batch is not None and len(output) != n_batch:
        rows, images = counted(len(output), "row"), counted(n_batch, "image")
        raise ModelError(f"the network returns {rows} of scores for {images}")
    return output


def _targets_for(returned: object) -> str:
    """A sentence on the targets for segmentation maps or detections, where an output seems to hold some."""
    if are_dicts_of_images(returned, {"boxes", "labels", "scores"}):
        return f"{_FOR_BOXES}{_FOR_MAPS if is_of_instances(returned) else ''}"
    maps = [part for _, part in entries_of(returned) if isinstance(part, torch.Tensor) and part.ndim == 4]
    return _FOR_MAPS if maps else ""


def class_names(labels: Sequence[str] | None, n_classes: int, noun: str = "class") -> tuple[str, ...]:
    """The labels, or "class 0", "class 1", ...; `ModelError` if their number is not the network's.

    The ``noun`` is "value" for a network that returns values.

    Labels () stand for a network without a classifier.
    """
    if labels is None:
        return tuple(f"{noun} {i}" for i in range(n_classes))
    if not labels:
        raise ModelError(
            f"the network has no classifier: its output is a feature vector of {n_classes} numbers. Use embed or "
            "neighbors, or give as target SimilarTo(image) or a callable that computes N scores from the output"
        )
    if len(labels) != n_classes:
        one = f"; a single score belongs to a single {noun}: give one label" if n_classes == 1 else ""
        raise ModelError(f"{len(labels)} labels for a network with {n_classes} {_PLURALS[noun]}{one}")
    return tuple(labels)


def by_name(labels: Sequence[str]) -> dict[str, list[int]]:
    """Lower-case name -> the classes with this label, or else the classes with this name in their label.

    ImageNet's labels list several names of one thing, separated by commas.
    """
    whole: dict[str, list[int]] = {}
    parts: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        key = label.casefold()
        whole.setdefault(key, []).append(i)
        for part in dict.fromkeys(key.split(", ")):
            parts.setdefault(part, []).append(i)
    return parts | whole


def find_class(target: int | str, n_classes: int | None, labels: Sequence[str] | None, noun: str = "class") -> int:
    """The index of one class, given by index, by label, or by one of a label's comma-separated names.

    ``n_classes`` is None if unknown; ``noun`` as in `class_names`.
    """
    if isinstance(target, bool | np.bool_):
        raise TargetError(f"target={target}: expected a class index or a label")
    if isinstance(target, str):
        return _find_label(target, labels)
    try:
        index = int(target)
    except (TypeError, ValueError):
        raise TargetError(f"target={target!r}: expected a class index or a label") from None
    if index != target or index < 0 or (n_classes is not None and index >= n_classes):
        there_are = (
            "classes are 0, 1, ..."
            if n_classes is None
            else f"the network has {_PLURALS[noun]} 0 to {n_classes - 1}"
        )
        raise TargetError(f"target={target}: {there_are}")
    return index


_NUMBER = r"-?[\d.]+"
_PLACE = re.compile(rf"(?P<name>.+) at \(?(?P<numbers>{_NUMBER}(?:, ?{_NUMBER}|(?:, ?{_NUMBER}){{3}}))\)?")


def _find_label(target: str, labels: Sequence[str] | None) -> int:
    if (place := _PLACE.fullmatch(target)) and target not in (labels or ()):
        name, numbers = place["name"], place["numbers"]
        what = f"{'Region.at' if numbers.count(',') == 1 else 'Detection'}(({numbers}), {name!r})"
        raise TargetError(
            f"target={target!r}: a string names a class alone; a box of a detector is a Detection, a pixel of a "
            f"segmentation Region.at, here {what}"
        )
    if not labels:
        raise TargetError(f"target={target!r}: this network has no labels; give a class index")
    wanted = target.strip().casefold()
    found = by_name(labels).get(wanted, [])
    if len(found) == 1:
        return found[0]
    if found:
        raise TargetError(f"{target!r} is the label of classes {found}; give the index of the one you mean")
    names = [name for label in labels for name in (label, *label.split(", "))]
    near = [n for n in names if wanted in n.casefold().split()]  # "tiger cat" for "cat", before "car"
    near += difflib.get_close_matches(target, names, n=4) or [n for n in names if wanted in n.casefold()]
    near = list(dict.fromkeys(near))[:4]
    hint = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
    raise TargetError(f"no class has the label {target!r}{hint}")
