"""What an ONNX file says of its input: its shape, and how its author says that pictures are prepared."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .onnx_sessions import OnnxInput
from .stated import Stated

_CHANNELS = (1, 3, 4)
_LONGEST = 2**20  # of a text of metadata
_KINDS = {1: "tensor(float)", 10: "tensor(float16)", 11: "tensor(double)"}
_LABELS = ("names", "labels", "classes", "class_names", "id2label")
# Image.NominalPixelRange of the ONNX standard: mean and std for pixels in [0, 1].
_RANGES = {"NominalRange_0_255": (0.0, 1 / 255), "Normalized_0_1": (0.0, 1.0), "Normalized_1_1": (0.5, 0.5)}


def input_of(model: Any, path: Path) -> OnnxInput:
    """The one image input of a graph; `ModelError` if there are several, or it takes no images."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    described = ", ".join(f"{value.name} {_dims(value)}" for value in inputs) or "none"
    if len(inputs) != 1:
        raise ModelError(f"{path}: takes {len(inputs)} inputs ({described}); expected one, of images (N, C, H, W)")
    kind, dims = inputs[0].type.tensor_type.elem_type, _dims(inputs[0])
    if kind not in _KINDS or len(dims) != 4:
        raise ModelError(
            f"{path}: its input is {described} of type {kind} of ONNX; expected floating-point images (N, C, H, W)"
        )
    channels_last = dims[1] not in _CHANNELS and dims[3] in _CHANNELS
    if channels_last:
        dims = (dims[0], dims[3], dims[1], dims[2])
    return OnnxInput(inputs[0].name, _KINDS[kind], (dims[0], dims[1], dims[2], dims[3]), channels_last)


def _dims(value: Any) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def statements_of(model: Any, given: OnnxInput) -> tuple[Stated, tuple[str, ...] | None]:
    """What is known of the images, and the labels, from the shape of the input and from the metadata."""
    texts = {entry.key: entry.value for entry in model.metadata_props if len(entry.value) <= _LONGEST}
    n_channels, *size = given.shape[1:]
    fixed = (size[0], size[1]) if all(size) else None
    stated = _numbers(texts, ("input_size", "imgsz")) or ()
    said = (int(stated[-2]), int(stated[-1])) if len(stated) >= 2 else None
    mean, std, notes = _normalization(texts, n_channels or 3)
    found = Stated(fixed or said, mean, std, n_channels or None, fixed is not None, notes)
    return found, next(filter(None, (_labels(texts.get(key)) for key in _LABELS)), None)


def _normalization(
    texts: Mapping[str, str], n_channels: int
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, tuple[str, ...]]:
    """Mean and std for pixels in [0, 1], as far as they are stated, and notes."""
    order = texts.get("Image.BitmapPixelFormat", "")
    if order.startswith("Bgr"):
        return (
            None,
            None,
            (f"the file states {order}: its first channel is blue, so pictures are not prepared by it",),
        )
    mean, std = (_numbers(texts, (key, f"image_{key}")) for key in ("mean", "std"))
    if mean and std:
        if max(mean) > 1:
            note = f"mean={mean} and std={std}, as the file states, are taken for pixels up to 255"
            return tuple(m / 255 for m in mean), tuple(s / 255 for s in std), (note,)
        return mean, std, ()
    values = _RANGES.get(texts.get("Image.NominalPixelRange", ""))
    if values is None and texts.get("author") == "Ultralytics":  # whose networks take pixels in [0, 1]
        values = _RANGES["Normalized_0_1"]
    return (values[0],) * n_channels if values else None, (values[1],) * n_channels if values else None, ()


def _numbers(texts: Mapping[str, str], keys: Sequence[str]) -> tuple[float, ...] | None:
    """A list of numbers under one of these keys."""
    for key in keys:
        value = _literal(texts.get(key))
        if isinstance(value, list | tuple) and value and all(isinstance(v, int | float) for v in value):
            return tuple(float(v) for v in value)
    return None


def _labels(text: str | None) -> tuple[str, ...] | None:
    """Names in order, from a list or a mapping from numbers."""
    value = _literal(text)
    if isinstance(value, dict):
        numbered = {int(key): name for key, name in value.items() if str(key).isdecimal()}
        if sorted(numbered) != list(range(len(value))):
            return None
        value = [numbered[i] for i in range(len(value))]
    is_list = isinstance(value, list | tuple) and bool(value) and all(isinstance(v, str) for v in value)
    return tuple(value) if is_list else None  # type: ignore[arg-type]


def _literal(text: str | None) -> object:
    """A text in JSON, or a literal of Python; None if it is neither. No code is run."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text or "")
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None
