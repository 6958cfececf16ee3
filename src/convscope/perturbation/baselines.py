"""Baselines: what replaces the hidden pixels of an image."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from numbers import Real
from typing import Any, Literal, TypeAlias, get_args

import torch

from ..checks import as_number, unfit
from ..errors import ParameterError
from ..models import Model, Packing, blurred, check_tensor

NamedBaseline: TypeAlias = Literal["mean", "blur", "noise", "black", "white"]
Baseline: TypeAlias = float | NamedBaseline | Any

NAMED: tuple[NamedBaseline, ...] = get_args(NamedBaseline)
PIXEL_VALUES = {"black": 0.0, "white": 1.0}  # in pixel units

# A blur that leaves no object recognizable but keeps the colors: a twentieth of the image's shorter side.
BLUR_SHARE = 1 / 20


def baseline_of(
    model: Model, baseline: Baseline, *, preprocessed: bool, seed: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function from a preprocessed image (C, H, W) to what replaces its hidden pixels, in the same shape.

    Signals (C, L) and volumes (C, D, H, W) are images, too.

    Args:
        model: the model, whose preprocessing determines what a number means.
        baseline: "mean" (0 after normalization); "blur" (the image itself, blurred by a Gaussian with a standard
            deviation of a 20th of its shorter side); "noise" (uniform between the smallest and the largest value
            of each channel); "black" or "white" (pixels of 0 or 1, preprocessed); a number in the image's own
            units: [0, 1] for pictures, normalized units for a preprocessed tensor; or one image.
        preprocessed: whether the images were given as a tensor.
        seed: seed of the noise, which is the same for every image, so that a batch gives the same as its images
            one by one.

    Raises:
        ParameterError: the baseline is none of these; it is "black" or "white" and the preprocessing is unknown;
            or it is an image of another shape.
    """
    names = ", ".join(map(repr, NAMED))
    if isinstance(baseline, str) and baseline in PIXEL_VALUES:
        return _pixels(model, baseline)
    if isinstance(baseline, str) and baseline in NAMED:
        named: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
            "mean": torch.zeros_like,
            "blur": _blurred,
            "noise": partial(_noise, seed=seed),
        }
        return named[baseline]
    if isinstance(baseline, str) and not os.path.exists(baseline):
        raise unfit(baseline, "baseline", f"{names}, a number, an image, or the path of one")
    if isinstance(baseline, bool):
        raise unfit(baseline, "baseline", f"{names}, a number or an image")
    if isinstance(baseline, Real):
        return _number(model, as_number(baseline, "baseline"), preprocessed)
    given = _one_image(model, baseline)

    def same(image: torch.Tensor) -> torch.Tensor:
        one = given[0] if given.ndim > image.ndim and len(given) == 1 else given
        if one.shape != image.shape:
            raise ParameterError(
                f"a baseline of shape {tuple(one.shape)}; expected that of the image, {tuple(image.shape)}"
            )
        return one.to(image)

    return same


def packed_baseline(
    model: Model, packing: Packing, baseline: Any, *, preprocessed: bool, seed: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """As `baseline_of`, for several inputs in one tensor: one baseline for each, or a dict of them by name.

    Only images can be blurred, and have noise between the values of their channels, or be black or white.
    """
    names = list(packing.shapes)
    each = dict(baseline) if isinstance(baseline, Mapping) else dict.fromkeys(names, baseline)
    if set(each) != set(names):
        expected = f"one for each of {', '.join(names)}"
        raise ParameterError(f"baseline of {', '.join(map(str, each))}: expected {expected}")
    hides = {}
    for name, shape in packing.shapes.items():
        one = each[name]
        if isinstance(one, torch.Tensor):
            hides[name] = _same(one, name, shape)
        elif len(shape) != 3 and not (one == "mean" or isinstance(one, Real)):
            raise ParameterError(
                f"baseline={one!r} is for images, and {name} has the shape {shape}: give a dict by name, with "
                "'mean' (0), a number or a tensor for it"
            )
        else:
            hides[name] = baseline_of(model, one, preprocessed=preprocessed, seed=seed)
    return lambda packed: packing.each(lambda name, part: hides[name](part), packed)


def _same(given: torch.Tensor, name: str, shape: tuple[int, ...]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A tensor as the baseline of an input of this shape."""
    if tuple(given.shape) not in (shape, (1, *shape)):
        raise ParameterError(f"a baseline of shape {tuple(given.shape)} for {name}; expected {shape}")
    return lambda part: given.to(part).reshape(shape)


def describe_baseline(baseline: Baseline) -> Any:
    """A baseline as provenance records it."""
    if isinstance(baseline, Mapping):
        return {str(name): describe_baseline(one) for name, one in baseline.items()}
    if isinstance(baseline, str):
        return baseline
    return as_number(baseline, "baseline") if isinstance(baseline, Real) else "image"


def _blurred(image: torch.Tensor) -> torch.Tensor:
    return blurred(image, max(0.5, BLUR_SHARE * min(image.shape[1:])))


def _noise(image: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same noise on every device
    noise = torch.rand(image.shape, generator=generator, dtype=torch.float32, device="cpu").to(image)
    inside = tuple(range(1, image.ndim))
    low, high = image.amin(dim=inside, keepdim=True), image.amax(dim=inside, keepdim=True)
    return low + noise * (high - low)


def _pixels(model: Model, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    preprocessing = model.preprocessing
    if preprocessing is None:
        raise ParameterError(
            f"baseline={name!r}: the preprocessing of this network is not known, and {name} depends on it; give a "
            "number in normalized units, or wrap the network as Model(module, input_size=(H, W), mean=[...], "
            "std=[...])"
        )
    return lambda image: preprocessing.from_unit(torch.full_like(image, PIXEL_VALUES[name]))


def _number(model: Model, value: float, preprocessed: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    preprocessing = None if preprocessed else model.preprocessing
    if preprocessing is None:
        return lambda image: torch.full_like(image, value)
    if not 0 <= value <= 1:
        raise ParameterError(f"baseline={value}: for pictures, expected 0 (black) to 1 (white)")
    return lambda image: preprocessing.from_unit(torch.full_like(image, value))


def _one_image(model: Model, baseline: Any) -> torch.Tensor:
    """An image, or a batch of one."""
    if isinstance(baseline, torch.Tensor):
        check_tensor(baseline if baseline.ndim == 5 else baseline[None], None)
        return baseline
    inputs = model.inputs(baseline)
    if len(inputs) != 1:
        raise ParameterError(f"baseline: {len(inputs)} images; expected one, for all images")
    return next(inputs.batches(1)).x[0]
