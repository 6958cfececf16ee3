"""The preprocessing that a Hugging Face image processor describes, checked against that processor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ModelError
from .preprocessing import Preprocessing

# Noise through both must agree within so many of 255 levels. Processors that resize by Pillow agree exactly, those
# that resize by torchvision round elsewhere.
_LEVELS = 2.5
_PICTURES = ((301, 202), (180, 333))  # (height, width): odd margins, downward and across
# ConvNext's processor crops below this size, and squashes from it on.
_CROPS_BELOW = 384


def processor_from(stated: dict[str, Any], model_type: str, source: str) -> Any:
    """The image processor of transformers that a folder's JSON describes, by Pillow if there are two of its kind.

    Raises:
        ModelError: transformers has none of this name.
    """
    import transformers

    name = stated.get("image_processor_type") or stated.get("feature_extractor_type")
    name = str(name or _usual_for(model_type))
    base = name.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
    kinds: list[Any] = [getattr(transformers, full, None) for full in (f"{base}Pil", base)]
    for kind in kinds:
        if _is_processor(kind):
            try:
                return kind.from_dict({key: value for key, value in stated.items() if key != "auto_map"})
            except Exception as error:
                raise ModelError(f"{source}: not what {name} takes ({error})") from error
    raise ModelError(
        f"{source}: transformers has no image processor {name!r}, and code from the folder is never run; give "
        "input_size, mean and std"
    )


def _is_processor(kind: Any) -> bool:
    import transformers

    return inspect.isclass(kind) and issubclass(kind, transformers.BaseImageProcessor)


def _usual_for(model_type: str) -> str:
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    known: Any = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type, "")
    return str(known.get("torchvision") or known.get("pil")) if isinstance(known, Mapping) else str(known)


def preprocessing_of(processor: Any, source: str) -> Preprocessing:
    """The same as an image processor does: resize, crop, rescale, normalize.

    Raises:
        ModelError: it does anything else, or its output has no fixed size.
    """
    settings = processor.to_dict()
    resize_px, input_size, crop = _sizes(settings, source)
    factor = 255 * float(settings.get("rescale_factor") or 1 / 255) if settings.get("do_rescale") else 255.0
    is_normalized = bool(settings.get("do_normalize"))
    mean = np.atleast_1d(settings["image_mean"] if is_normalized else np.zeros(3)) / factor
    std = np.atleast_1d(settings["image_std"] if is_normalized else np.ones(3)) / factor
    found = Preprocessing(
        input_size=input_size,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        resize_px=resize_px,
        interpolation=Image.Resampling(settings["resample"]).name.lower(),  # type: ignore[arg-type]
        crop=crop,  # type: ignore[arg-type]
    )
    _check(processor, found, source)
    return found


def _sizes(settings: Mapping[str, Any], source: str) -> tuple[tuple[int, int], tuple[int, int], str]:
    """The size to resize to, the size to crop, and the kind of crop."""
    given = settings.get("size")
    size = {
        name: _side(given, name) for name in ("height", "width", "shortest_edge", "longest_edge", "max_height")
    }
    edge = size["shortest_edge"]
    is_exact = bool(size["height"] and size["width"])
    if not settings.get("do_resize") or size["longest_edge"] or size["max_height"] or not (edge or is_exact):
        raise ModelError(f"{source}: size {given} gives images of no fixed size; give input_size, mean and std")
    resize_px = (size["height"], size["width"]) if is_exact else (edge, edge)
    if settings.get("crop_pct") and not is_exact:
        if edge >= _CROPS_BELOW:
            return resize_px, resize_px, "squash"
        larger = int(edge / settings["crop_pct"])
        return (larger, larger), resize_px, "center_floor"
    if settings.get("do_center_crop"):
        crop_size = settings.get("crop_size")
        cropped = (_side(crop_size, "height"), _side(crop_size, "width"))
        return resize_px, cropped, "squash" if is_exact else "center_floor"
    if not is_exact:
        raise ModelError(
            f"{source}: size {given} without a crop gives images of no fixed size; give input_size, mean and std"
        )
    return resize_px, resize_px, "squash"


def _side(size: Any, name: str) -> int:
    value = size.get(name) if isinstance(size, Mapping) else getattr(size, name, None)
    return int(value or 0)


def _check(processor: Any, found: Preprocessing, source: str) -> None:
    """Compare the two on noise; `ModelError` if they differ by more than the rounding of a resized pixel."""
    random = np.random.default_rng(0)
    for height, width in _PICTURES:
        pixels = random.integers(0, 256, (height, width, found.n_channels), dtype=np.uint8)
        ours = found.apply(pixels).numpy()
        picture = Image.fromarray(pixels[:, :, 0] if found.n_channels == 1 else pixels)
        theirs = np.asarray(processor(images=picture, return_tensors="np")["pixel_values"][0])
        std = np.array(found.std)[:, None, None]
        is_same = theirs.shape == ours.shape and np.abs((theirs - ours) * std).max() * 255 <= _LEVELS
        if not is_same:
            raise ModelError(
                f"{source}: {type(processor).__name__} does more than resize, crop and normalize; give "
                "input_size, mean and std, or preprocessed tensors to Model(network)"
            )
