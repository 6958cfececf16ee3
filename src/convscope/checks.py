"""Check that a value is of the right kind and in range; a `ParameterError` says what was expected instead."""

from __future__ import annotations

import difflib
import math
import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias

from .errors import ParameterError

Pair: TypeAlias = tuple[int, int]
InputShape: TypeAlias = tuple[int, ...]  # (C, H, W) of a picture, (C, L) of a signal, (C, D, H, W) of a volume
Sides: TypeAlias = tuple[int, ...]  # the same without its channels
Runner: TypeAlias = Literal["local", "ray"]  # who works on a collection
Precision: TypeAlias = Literal["float32", "bfloat16"]  # in which a network computes
ProjectionMethod: TypeAlias = Literal["pca", "tsne", "umap"]
ClusterMethod: TypeAlias = Literal["hdbscan", "kmeans"]
SuspectKind: TypeAlias = Literal["label", "outlier", "uncertain"]
Decision: TypeAlias = Literal["keep", "relabel", "drop"]  # on an image of a store
ExportFormat: TypeAlias = Literal["csv", "parquet", "imagefolder", "coco", "fiftyone"]
Evidence: TypeAlias = Literal["all", "neighbors", "linear", "network"]  # against a label
Metric: TypeAlias = Literal["cosine", "euclidean", "dot"]  # what near means
PresetName: TypeAlias = Literal["natural", "maco", "crisp", "plain"]  # of `synthesis.PRESETS`
HIGHER_IS_NEARER: dict[str, bool] = {"cosine": True, "euclidean": False, "dot": True}

_PIXELS = (1, 10_000)  # a side of what a network sees
_PLACES = (1, 10_000_000)  # along a side; a signal may have more of them than a picture
_MOST = 2**31 - 1
# The least and the greatest value of an option, by its name, which means the same everywhere. The upper bounds lie
# beyond what anybody needs: a digit too many must not run for years or ask for terabytes.
BOUNDS: dict[str, tuple[float, float]] = {
    "alpha": (0, 1),
    "at_least": (1, 100_000),
    "at_most": (1, _MOST),
    "background": (0, 255),
    "blur": (0, 10_000),
    "budget_s": (1e-3, 1e9),
    "cells": (2, 100),
    "channels": (1, 10_000),
    "column": (0, 1_000_000),
    "crop_px": _PIXELS,
    "clear": (0, math.nextafter(1, 0)),
    "distance": (math.nextafter(0, 1), 1e6),
    "every": (1, _MOST),
    "fps": (0.1, 1000),
    "input_size": _PIXELS,
    "jitter_px": (0, 10_000),
    "k": (1, 1_000_000),
    "keep": (math.nextafter(0, 1), math.nextafter(1, 0)),
    "l2": (0, 1e6),
    "limit": (1, 10_000_000),
    "max_overlap": (0, 1),
    "min_correlation": (0, 1),
    "min_score": (0, 1),
    "n_batch": (1, 10_000),
    "n_clusters": (1, 1_000_000),
    "n_components": (1, 100_000),
    "n_concepts": (1, 10_000),
    "n_designs": (2, 65_536),
    "n_dims": (1, _MOST),
    "n_duplicates": (0, 1_000_000),
    "n_errors": (0, 1_000_000),
    "n_folds": (2, 1_000),
    "n_frames": (0, 100_001),
    "n_images": (1, 1_000_000),
    "n_moments": (2, 24),
    "n_octaves": (1, 100),
    "n_masks": (2, 100_000),
    "n_random": (1, 100_000),
    "n_samples": (1, 100_000),
    "n_stages": (1, 10_000),
    "n_suspects": (0, 1_000_000),
    "n_thumbnails": (0, _MOST),
    "n_steps": (1, 100_000),
    "n_variants": (1, 10_000),
    "n_views": (1, 10_000),
    "noise": (0, 1000),
    "patience": (1, _MOST),
    "recall": (math.nextafter(0, 1), 1),
    "resize_px": (1, 100_000),
    "seed": (0, 2**32 - 1),  # what NumPy's older generators take, as scikit-learn has them
    "shape": (1, 100_000),
    "size": (1, _MOST),
    "size_px": _PIXELS,
    "step": (0, _MOST),
    "step_size": (0, 1e6),
    "stride": _PLACES,
    "superpixel": _PIXELS,
    "tiles": (1, 10_000),
    "window": _PLACES,
    "windows": _PLACES,
    "worst": (1, 1_000_000),
}
_WORDS = {"clear": "a number, at least 0 and less than 1", "keep": "a number between 0 and 1",
          "recall": "a number, more than 0 and at most 1"}  # fmt: skip


def shown(value: object) -> str:
    """A value as a message shows it: on one line of at most 80 characters, whatever its repr does."""
    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = brief.maxlong = 80
    try:
        text = " ".join(brief.repr(value).split())
    except Exception:  # the repr of a broken class, or of a number with thousands of digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def unfit(value: object, name: str, expected: str) -> ParameterError:
    """The error for an argument that is not what was expected."""
    return ParameterError(f"{name}={shown(value)}: expected {expected}")


def choices_in_words(names: Iterable[str]) -> str:
    """'a', 'b' or 'c'."""
    *some, last = map(repr, names)
    return f"{', '.join(some)} or {last}" if some else last


def count_in_words(name: str, least: int | None = None) -> str:
    """The whole numbers that an option takes, in words."""
    low, high = BOUNDS.get(name, (0, _MOST))
    return f"a whole number from {int(low) if least is None else least:,} to {int(high):,}"


def number_in_words(name: str) -> str:
    """The numbers that an option takes, in words."""
    low, high = BOUNDS.get(name, (-math.inf, math.inf))
    return _WORDS.get(name) or ("a finite number" if low == -math.inf else f"a number from {low:g} to {high:g}")


def plain(value: Any) -> Any:
    """A number of NumPy or torch, or an array without dimensions, as a number of Python."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def as_count(value: object, name: str, least: int | None = None) -> int:
    """A whole number within the `BOUNDS` of its name; ``least`` replaces the lower one."""
    low, high = BOUNDS.get(name, (0, _MOST))
    given = plain(value)
    is_whole = isinstance(given, Integral) and not isinstance(given, bool)
    if not is_whole or not (low if least is None else least) <= given <= high:
        raise unfit(value, name, count_in_words(name, least))
    return int(given)


def as_number(value: object, name: str) -> float:
    """A finite number within the `BOUNDS` of its name."""
    low, high = BOUNDS.get(name, (-math.inf, math.inf))
    given = plain(value)
    is_number = isinstance(given, Real) and not isinstance(given, bool)
    if not is_number or not low <= given <= high or not abs(given) < math.inf:
        raise unfit(value, name, number_in_words(name))
    try:
        return float(given)
    except OverflowError:
        raise unfit(value, name, number_in_words(name)) from None


def as_choice(value: object, name: str, choices: Sequence[str]) -> str:
    """One of several names; the error suggests the one that may have been meant."""
    given = plain(value)
    if not isinstance(given, str):
        raise unfit(value, name, choices_in_words(choices))
    if given not in choices:
        near = difflib.get_close_matches(given.casefold()[:80], choices, n=1)
        hint = f"did you mean {near[0]!r}? " if near and len(choices) > 2 else ""
        raise ParameterError(f"{name}={shown(value)}: {hint}expected {choices_in_words(choices)}")
    return str(given)


def as_text(value: object, name: str) -> str:
    """A string."""
    given = plain(value)
    if not isinstance(given, str):
        raise unfit(value, name, "a string")
    return str(given)


def as_path(value: Any, name: str) -> Any:
    """A string or a path that can be the name of a file."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text or len(text) > 4096:
        raise unfit(value, name, "a path")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise unfit(value, name, "a path") from None
    return value


def as_array(value: Any, name: str, expected: str) -> Any:
    """A NumPy array, from anything that converts to one."""
    import numpy as np

    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # a ragged list, a tensor with a gradient
        raise unfit(value, name, expected) from None


def as_items(value: Any, name: str, expected: str) -> list[Any]:
    """The items of a list or another ordered collection; a string is one item and no list."""
    is_list = isinstance(value, Iterable) and not isinstance(value, str | bytes | bytearray | Mapping | Set)
    if not is_list or getattr(value, "ndim", 1) == 0:
        raise unfit(value, name, expected)
    return list(value)


def as_pair(value: object, name: str) -> Pair:
    """(height, width) in pixels from one number for both, or two."""
    height, width = as_sides(value, name, 2)
    return height, width


# By the number of sides: what they are called, and what they are measured in.
SIDES: dict[int, tuple[str, str]] = {
    1: ("(length,)", "samples"),
    2: ("(height, width)", "pixels"),
    3: ("(depth, height, width)", "voxels"),
}


def as_sides(value: object, name: str, n_sides: int) -> Sides:
    """A number for each side, from one number for all, or as many."""
    sides, unit = SIDES[n_sides]
    expected = f"{unit}, one number or {sides}, each {count_in_words(name)}"
    is_list = isinstance(value, Iterable) and plain(value) is value
    given = as_items(value, name, expected) if is_list else [value] * n_sides
    if len(given) != n_sides:
        raise unfit(value, name, expected)
    return tuple(as_count(side, name) for side in given)


def which_is_nearer(metric: str) -> str:
    """How to read a score of this metric, in words."""
    return "higher is nearer" if HIGHER_IS_NEARER[metric] else "lower is nearer"


def check_address(address: str | None, runner: Runner) -> None:
    """`ParameterError` for the address of a cluster that does not run anything."""
    if address is not None and runner != "ray":
        raise ParameterError("address belongs to runner='ray'")
