"""Whose score is explained: class indices, labels, lists of these, callables, or the predicted class."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from ..errors import ModelError, ParameterError, TargetError

Score: TypeAlias = Literal["logit", "probability"]
OneTarget: TypeAlias = int | str
Target: TypeAlias = OneTarget | Sequence[OneTarget] | Callable[[torch.Tensor], torch.Tensor] | None


@dataclass(frozen=True)
class Targets:
    """Resolved for a batch of N images: ``indices`` (N,), or a callable from the output to N scores."""

    indices: torch.Tensor | None
    function: Callable[[torch.Tensor], torch.Tensor] | None
    names: tuple[str, ...]
    score: Score

    def of(self, output: Any, n_rows: int | None = None, image: int | None = None) -> torch.Tensor:
        """The scores (M,) of the network's output for M = ``n_rows`` inputs, (M, K) or whatever a callable takes.

        M is the length of the output where it is not given. Row m belongs to image m of the batch; with
        ``image`` given, all rows are variants of that one image.
        """
        n_rows = len(output) if n_rows is None else n_rows
        if self.function is not None:
            scores = self.function(output)
            if not isinstance(scores, torch.Tensor) or scores.shape != (n_rows,):
                found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
                raise TargetError(f"the target callable gave {found}; expected one score a row, shape ({n_rows},)")
            return scores
        assert self.indices is not None
        values = output.softmax(dim=1) if self.score == "probability" else output
        indices = self.indices.to(output.device)
        chosen = indices.expand(n_rows) if image is None else indices[image].expand(n_rows)
        picked: torch.Tensor = values.gather(1, chosen[:, None])[:, 0]
        return picked


def describe(target: Any) -> str | int | tuple[OneTarget, ...] | None:
    """A target as provenance records it; what is none is left to `resolve` to refuse."""
    if callable(target):
        return str(getattr(target, "__name__", type(target).__name__))
    if isinstance(target, np.ndarray | torch.Tensor):
        return tuple(target.reshape(-1).tolist())
    if target is None or isinstance(target, str):
        return target
    if isinstance(target, Sequence):
        return tuple(int(t) if isinstance(t, int | np.integer) else str(t) for t in target)
    return int(target) if isinstance(target, int | np.integer) else type(target).__name__


def check_labels(labels: object) -> tuple[str, ...] | None:
    """Class names as a tuple, or `ParameterError`."""
    if labels is None:
        return None
    if isinstance(labels, str | Mapping) or not isinstance(labels, Iterable):
        raise ParameterError(
            f"labels: a {type(labels).__name__}; expected a list of names in the order of the classes"
        )
    names = tuple(labels)
    for name in names:
        if not isinstance(name, str):
            raise ParameterError(f"labels: {name!r} among them; expected names, as strings")
    return names


def class_names(labels: Sequence[str] | None, n_classes: int) -> tuple[str, ...]:
    """The labels, or "class 0", "class 1", ...; `ModelError` where their number is not the network's."""
    if labels is None:
        return tuple(f"class {i}" for i in range(n_classes))
    if len(labels) != n_classes:
        raise ModelError(f"{len(labels)} labels for a network with {n_classes} classes")
    return tuple(labels)


def check_output(output: object, n_batch: int | None = None) -> torch.Tensor:
    """The class scores (N, K) of a network for a batch of N images, or `ModelError`."""
    if not isinstance(output, torch.Tensor):
        raise ModelError(
            f"the network returns a {type(output).__name__}, not a tensor of class scores (N, K); "
            "wrap it in a module that returns the tensor, or give a callable as target"
        )
    if output.ndim != 2:
        raise ModelError(
            f"the network returns a tensor of shape {tuple(output.shape)}, not class scores (N, K); "
            "give a callable as target that turns it into N scores"
        )
    if n_batch is not None and len(output) != n_batch:
        raise ModelError(f"the network returns {len(output)} rows of scores for {n_batch} images")
    return output


def resolve(
    target: Target,
    output: Any,
    labels: Sequence[str] | None,
    *,
    n_batch: int | None = None,
    positions: Sequence[int] | None = None,
    n_images: int | None = None,
    score: Score = "logit",
) -> Targets:
    """Turn what a user calls a target into class indices for a batch.

    Args:
        target: class index, label, one of these for each image, a callable (N, K) -> (N,), or None for
            the class with the highest score of each image.
        output: the network's output for the batch, (N, K); whatever it is where the target is a callable.
        labels: names of the K classes, or None.
        n_batch: images in the batch; by default the length of the output.
        positions: places of the batch's images among all images, to pick from a list of targets.
        n_images: number of all images; a list of targets has to be as long.
        score: "logit" (before softmax) or "probability".
    """
    if score not in ("logit", "probability"):
        raise ParameterError(f"score={score!r}: expected 'logit' or 'probability'")
    n_batch = len(output) if n_batch is None else n_batch
    if callable(target):
        if score != "logit":
            raise ParameterError("score='probability' has no meaning for a callable: let it return probabilities")
        return Targets(None, target, (str(describe(target)),) * n_batch, score)
    n_classes = check_output(output, n_batch).shape[1]
    names = class_names(labels, n_classes)
    if target is None:
        indices = output.argmax(dim=1).tolist()
    elif isinstance(target, str) or _is_index(target):
        indices = [find_class(target, n_classes, labels)] * n_batch  # type: ignore[arg-type]
    else:
        indices = _of_list(target, n_batch, n_classes, labels, positions, n_images)
    return Targets(torch.tensor(indices), None, tuple(names[i] for i in indices), score)


def _of_list(
    target: object,
    n_batch: int,
    n_classes: int,
    labels: Sequence[str] | None,
    positions: Sequence[int] | None,
    n_images: int | None,
) -> list[int]:
    items = target.tolist() if isinstance(target, np.ndarray | torch.Tensor) else target
    if not isinstance(items, Sequence):
        raise TargetError(f"a {type(target).__name__} is no target: give an index, a label, a list, or a callable")
    expected = n_images if n_images is not None else n_batch
    if len(items) != expected:
        raise TargetError(f"{len(items)} targets for {expected} images; give one, or one an image")
    chosen = items if positions is None else [items[p] for p in positions]
    return [find_class(item, n_classes, labels) for item in chosen]


def _is_index(value: object) -> bool:
    if isinstance(value, np.ndarray | torch.Tensor):
        return value.ndim == 0
    return isinstance(value, int | np.integer)


def find_class(target: OneTarget, n_classes: int, labels: Sequence[str] | None) -> int:
    """The index of one class, given by index, by label, or by one of a label's comma-separated names."""
    if isinstance(target, bool | np.bool_):
        raise TargetError(f"target={target}: expected a class index or a label")
    if isinstance(target, str):
        return _find_label(target, labels)
    try:
        index = int(target)
    except (TypeError, ValueError):
        raise TargetError(f"target={target!r}: expected a class index or a label") from None
    if not 0 <= index < n_classes or index != target:
        raise TargetError(f"target={target}: the network has classes 0 to {n_classes - 1}")
    return index


def _find_label(target: str, labels: Sequence[str] | None) -> int:
    if not labels:
        raise TargetError(f"target={target!r}: this network has no labels; give a class index")
    wanted = target.strip().casefold()
    found = [i for i, label in enumerate(labels) if label.casefold() == wanted]
    if not found:
        found = [i for i, label in enumerate(labels) if wanted in label.casefold().split(", ")]
    if len(found) == 1:
        return found[0]
    if found:
        raise TargetError(f"{target!r} is the label of classes {found}; give the index of the one you mean")
    names = [name for label in labels for name in (label, *label.split(", "))]
    near = difflib.get_close_matches(target, names, n=4) or [n for n in names if wanted in n.casefold()][:4]
    hint = f"; did you mean {', '.join(repr(n) for n in dict.fromkeys(near))}?" if near else ""
    raise TargetError(f"no class has the label {target!r}{hint}")
