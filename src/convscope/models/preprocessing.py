"""From a picture to a network's input and back: resize, crop, channels, normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as geometry

from ..arguments import checks_arguments
from ..checks import shown
from ..errors import ImageError, ParameterError
from ..images import Pixels
from ..results import Array

# If a resized image would be more than this many times as large as the crop, only the crop is computed.
_LARGEST_RESIZED = 32

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


@checks_arguments
@dataclass(frozen=True)
class Preprocessing:
    """How pictures become a network's input.

    The image is resized to cover ``resize_px`` (height, width) with its proportions kept, and ``input_size`` is
    cropped from its center; ``crop="squash"`` resizes to ``resize_px`` without keeping the proportions. Each
    channel, with values in [0, 1], then becomes (value - mean) / std.

    Where an odd number of pixels is cropped away, ``crop="center"`` rounds the half as torchvision and timm do,
    and ``"center_floor"`` takes the larger part from the bottom and the right, as transformers does.
    """

    input_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize_px: tuple[int, int]
    interpolation: Interpolation = "bilinear"
    crop: Literal["center", "center_floor", "squash"] = "center"

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise ParameterError(
                f"mean has {len(self.mean)} values and std {len(self.std)}; expected one of each per channel"
            )
        if not all(s > 0 for s in self.std):
            raise ParameterError(f"std={self.std}: expected positive values")

    @property
    def n_channels(self) -> int:
        return len(self.mean)

    def apply(self, pixels: Pixels, name: str = "image") -> torch.Tensor:
        """(H, W, C) uint8 or float in [0, 1] -> (C, H, W) float32, as the network takes it."""
        return self.normalize([self.fit(pixels, name)])[0]

    def fit(self, pixels: Pixels, name: str = "image") -> Pixels:
        """(H, W, C) uint8 or float in [0, 1] -> resized and cropped to ``input_size``, of the same kind."""
        pixels = self._match_channels(_checked(pixels, name), name)
        if pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
            # The same steps by the same library as in torchvision and timm, so the same result bit for bit.
            image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
            return np.atleast_3d(np.array(self._fit(image)))
        planes = _to_unit_range(pixels).transpose(2, 0, 1)
        return np.stack([np.asarray(self._fit(Image.fromarray(p))) for p in planes], axis=2)

    @checks_arguments
    def normalize(self, cuts: Sequence[Pixels]) -> torch.Tensor:
        """n pictures from `fit` -> (n, C, H, W) float32, as the network takes them.

        Whole batches, in place: image by image it would cost as much as decoding, because every decoding thread
        would start threads of its own.
        """
        if not cuts or any(_checked(cut, "a cut").shape != cuts[0].shape for cut in cuts):
            raise ImageError("expected pictures of one size (H, W, C), as `fit` returns them")
        alike = all(cut.dtype == np.uint8 for cut in cuts)
        stacked = torch.from_numpy(np.stack(cuts if alike else [_to_unit_range(cut) for cut in cuts]))
        x = stacked.permute(0, 3, 1, 2).float()
        if alike:
            x = x.div_(255)
        return x.sub_(self._column(self.mean)).div_(self._column(self.std))

    @checks_arguments
    def from_unit(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C, H, W) in [0, 1] -> normalized."""
        return (x - self._column(self.mean).to(x)) / self._column(self.std).to(x)

    @checks_arguments
    def to_unit(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C, H, W) normalized -> [0, 1], not clipped."""
        return x * self._column(self.std).to(x) + self._column(self.mean).to(x)

    def _column(self, values: tuple[float, ...]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device="cpu")[:, None, None]

    def _fit(self, image: Image.Image) -> Image.Image:
        mode = InterpolationMode(self.interpolation)
        height, width = self.input_size
        rows, columns = self._resized(image.height, image.width)
        if rows * columns <= _LARGEST_RESIZED * height * width:
            resized = geometry.resize(image, [rows, columns], mode)
            if self.crop == "center_floor" and rows >= height and columns >= width:
                cut: Image.Image = geometry.crop(
                    resized, (rows - height) // 2, (columns - width) // 2, height, width
                )
            else:
                cut = geometry.center_crop(resized, [height, width])
            return cut
        # A long strip: resizing all of it could fill the memory, so compute only the crop.
        top, left = round((rows - height) / 2), round((columns - width) / 2)
        y, x = image.height / rows, image.width / columns
        box = (left * x, top * y, (left + width) * x, (top + height) * y)
        return image.resize((width, height), Image.Resampling[self.interpolation.upper()], box)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) after resizing, rounded as torchvision does for squares and timm for the rest."""
        rows, columns = self.resize_px
        if self.crop == "squash":
            return rows, columns
        if rows != columns:
            ratio = min(height / rows, width / columns)
            return round(height / ratio), round(width / ratio)
        if width <= height:
            return int(rows * height / width), rows
        return rows, int(rows * width / height)

    def _match_channels(self, pixels: Pixels, name: str) -> Pixels:
        have, want = pixels.shape[2], self.n_channels
        if have == want:
            return pixels
        if have == 1 and want == 3:
            return np.repeat(pixels, 3, axis=2)
        if have == 3 and want == 1:
            luma = pixels @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's "L"
            if pixels.dtype == np.uint8:
                return np.asarray(np.rint(luma).astype(np.uint8)[:, :, None])
            return np.asarray(luma.astype(np.float32)[:, :, None])
        raise ImageError(f"{name}: {have} channels, but the network takes {want}")


def _checked(pixels: Pixels, name: str) -> Pixels:
    is_picture = isinstance(pixels, np.ndarray) and pixels.ndim == 3 and 0 not in pixels.shape
    if not is_picture or (pixels.dtype != np.uint8 and pixels.dtype.kind != "f"):
        raise ImageError(f"{name}: {shown(pixels)}; expected pixels (H, W, C), uint8 or floats in [0, 1]")
    return pixels


def _to_unit_range(pixels: Pixels) -> Pixels:
    scale = 255.0 if pixels.dtype == np.uint8 else 1.0
    return np.asarray((pixels / scale).astype(np.float32))


def gaussian_blur(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur (..., C, H, W) by a Gaussian of ``sigma`` pixels, mirrored at the border."""
    reach = min(math.ceil(3 * sigma), min(x.shape[-2:]) - 1)  # mirroring needs a larger image
    return _blurred_along(_blurred_along(x, -1, sigma, reach), -2, sigma, reach)


def blurred(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur a picture (C, H, W), a signal (C, L) or a volume (C, D, H, W) along all sides, as `gaussian_blur`."""
    if image.ndim == 3:
        return gaussian_blur(image, sigma)
    for axis in range(1, image.ndim):
        image = _blurred_along(image, axis, sigma, min(math.ceil(3 * sigma), image.shape[axis] - 1))
    return image


def _blurred_along(x: torch.Tensor, axis: int, sigma: float, reach: int) -> torch.Tensor:
    """Blur along one side: a Gaussian is a product, so that one side after another takes far fewer steps."""
    steps = torch.arange(-reach, reach + 1, device=x.device, dtype=torch.float32)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    weights = (weights / weights.sum()).to(x)
    rows = x.movedim(axis, -1)
    padded = functional.pad(rows.reshape(-1, 1, rows.shape[-1]), (reach, reach), mode="reflect")
    return functional.conv1d(padded, weights[None, None]).reshape(rows.shape).movedim(-1, axis).contiguous()


def covering(input_size: tuple[int, int], crop_pct: float) -> tuple[int, int]:
    """The size to resize to, of which the crop is ``crop_pct`` (rounded as in timm)."""
    return (math.floor(input_size[0] / crop_pct), math.floor(input_size[1] / crop_pct))


def from_timm(cfg: dict[str, Any]) -> Preprocessing:
    """The preprocessing of a timm model, from ``timm.data.resolve_data_config``."""
    height, width = cfg["input_size"][-2:]
    crop = cfg.get("crop_mode", "center")
    if crop not in ("center", "squash"):
        raise ParameterError(f"crop_mode={crop!r} of this timm model is not supported; preprocess it yourself")
    return Preprocessing(
        input_size=(height, width),
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
        resize_px=covering((height, width), cfg["crop_pct"]),
        interpolation=cfg["interpolation"],
        crop=crop,
    )


def from_torchvision(transform: Any) -> Preprocessing:
    """The preprocessing of torchvision weights, from ``weights.transforms()``."""
    crop, resize = transform.crop_size[0], transform.resize_size[0]
    return Preprocessing(
        input_size=(crop, crop),
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        resize_px=(resize, resize),
        interpolation=transform.interpolation.value,
    )


def of_timm(module: nn.Module) -> Preprocessing | None:
    """The preprocessing that timm stores in its networks; None for any other network."""
    if not hasattr(module, "pretrained_cfg"):
        return None
    from timm.data import resolve_data_config

    # A network that was made for another size has it only there.
    size = getattr(getattr(module, "patch_embed", None), "img_size", None)
    given = {} if size is None else {"input_size": (module.pretrained_cfg["input_size"][0], *size)}  # type: ignore[index]
    return from_timm(resolve_data_config(given, model=module))


def shown_pixels(x: torch.Tensor, preprocessing: Preprocessing | None) -> Array:
    """Preprocessed (N, C, H, W) -> what the network saw, uint8 (N, H, W, 3); see `Model.to_pixels`."""
    if x.ndim not in (3, 4, 5):
        raise ImageError(f"a tensor of shape {tuple(x.shape)}; expected preprocessed images (N, C, H, W)")
    x = x.detach().float().cpu()
    if x.ndim == 3:
        return x.numpy().copy()
    if preprocessing is not None and x.shape[1] == preprocessing.n_channels:
        x = preprocessing.to_unit(x)
    else:  # also for what is no image, among several inputs
        inside = tuple(range(1, x.ndim))
        low, high = x.amin(dim=inside, keepdim=True), x.amax(dim=inside, keepdim=True)
        x = (x - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny)
    if x.shape[1] != 3:
        x = x.mean(dim=1, keepdim=True).expand(-1, 3, *x.shape[2:])
    pixels = x.clamp(0, 1).mul(255).round().to(torch.uint8).movedim(1, -1)
    return np.ascontiguousarray(pixels.numpy())
