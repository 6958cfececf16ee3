"""Preprocessing is that of timm and of torchvision, on any size of picture, and can be taken back."""

from __future__ import annotations

import resource

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import nn
from torch.testing import assert_close
from torchvision import models as torchvision_models
from torchvision.transforms.functional import gaussian_blur as blurred_at_once

from convscope import ImageError, Model, ParameterError, Preprocessing
from convscope.models.preprocessing import from_timm, from_torchvision, gaussian_blur

# Wide, tall, smaller than any crop, a single pixel, one row, and sides whose ratio has to be rounded.
SIZES = [(300, 451), (451, 300), (40, 31), (1, 1), (1, 7), (333, 334)]

TORCHVISION = [  # between them: crops of 224, 299 and 480, resizing to more and to the same, bicubic
    "resnet50",
    "inception_v3",
    "vgg16",
    "efficientnet_b1",
    "efficientnet_v2_l",
    "swin_v2_t",
]  # fmt: skip


def pictures(cat: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray(cat).resize((width, height)) for height, width in SIZES]


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "dm_nfnet_f0", "convnext_tiny"])
def test_it_is_timms_for_timm_models(cat: np.ndarray, name: str) -> None:
    cfg = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    expected, found = create_transform(**cfg), from_timm(cfg)
    for picture in pictures(cat):
        assert_close(found.apply(np.asarray(picture)), expected(picture), atol=1e-6, rtol=0)


@pytest.mark.parametrize("crop_pct", [1.0, 0.9, 0.875])
@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("size", [(64, 64), (48, 80), (80, 48)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_it_is_timms_for_every_way_of_cropping(
    cat: np.ndarray, size: tuple[int, int], crop_mode: str, crop_pct: float, interpolation: str
) -> None:
    cfg = {
        "input_size": (3, *size), "interpolation": interpolation, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4),
        "crop_pct": crop_pct, "crop_mode": crop_mode,
    }  # fmt: skip
    expected, found = create_transform(**cfg), from_timm(cfg)
    for picture in pictures(cat):
        assert_close(found.apply(np.asarray(picture)), expected(picture), atol=1e-6, rtol=0)


def test_a_timm_crop_that_is_not_supported_is_an_error() -> None:
    cfg = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg("resnet50").to_dict())
    with pytest.raises(ParameterError, match="border"):
        from_timm({**cfg, "crop_mode": "border"})


@pytest.mark.parametrize("name", TORCHVISION)
def test_it_is_torchvisions_for_torchvision_models(cat: np.ndarray, name: str) -> None:
    expected = torchvision_models.get_model_weights(name).DEFAULT.transforms()
    found = from_torchvision(expected)
    for picture in pictures(cat):
        assert_close(found.apply(np.asarray(picture)), expected(picture), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(3, 10_000), (10_000, 3), (1, 60_000)])
def test_a_strip_of_pixels_does_not_fill_the_memory(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (*shape, 3), np.uint8)
    preprocessing = Preprocessing((224, 224), (0.5,) * 3, (0.25,) * 3, (256, 256))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = preprocessing.apply(pixels)
    used_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert found.shape == (3, 224, 224)
    assert used_kb < 100_000, "resized as a whole it would take 600 MB and more"


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("shape", [(20, 900), (900, 20)])
def test_a_strip_is_preprocessed_as_if_it_had_been_resized_as_a_whole(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], interpolation: str
) -> None:
    # Floats, as bytes are clipped between the two passes, whose order Pillow chooses by their cost.
    pixels = np.random.default_rng(0).random((*shape, 3), np.float32)
    preprocessing = Preprocessing((32, 32), (0.0,) * 3, (1.0,) * 3, (37, 37), interpolation)
    part = preprocessing.apply(pixels)
    monkeypatch.setattr("convscope.models.preprocessing._LARGEST_RESIZED", 1e9)
    assert_close(part, preprocessing.apply(pixels), atol=1e-4, rtol=0)


def test_floats_are_preprocessed_like_the_bytes_they_stand_for(cat: np.ndarray) -> None:
    preprocessing = Preprocessing((64, 64), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), (72, 72))
    found = preprocessing.apply((cat / 255).astype(np.float32))
    # Bytes are rounded after each of the two resampling passes, floats are not: at most one level each.
    assert_close(found, preprocessing.apply(cat), atol=1.01 / 255 / 0.2, rtol=0)


def test_twelve_channels_are_resized_one_by_one() -> None:
    pixels = np.random.default_rng(0).random((30, 40, 12), np.float32)
    preprocessing = Preprocessing((16, 16), tuple(np.arange(12) / 12), (0.5,) * 12, (16, 16))
    found = preprocessing.apply(pixels)
    assert found.shape == (12, 16, 16)
    single = Preprocessing((16, 16), (5 / 12,), (0.5,), (16, 16)).apply(pixels[:, :, 5:6])
    assert_close(found[5:6], single, atol=1e-6, rtol=0)


def test_gray_and_color_are_turned_into_each_other() -> None:
    gray, color = (
        Preprocessing((4, 4), (0.0,), (1.0,), (4, 4)),
        Preprocessing((4, 4), (0.0,) * 3, (1.0,) * 3, (4, 4)),
    )
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    luma = torch.from_numpy(np.array(Image.fromarray(pixels).convert("L"))).float() / 255
    assert_close(gray.apply(pixels)[0], luma, atol=1.01 / 255, rtol=0)
    assert_close(gray.apply((pixels / 255).astype(np.float32))[0], luma, atol=1.01 / 255, rtol=0)
    for plane in (pixels[:, :, :1], (pixels[:, :, :1] / 255).astype(np.float32)):
        assert_close(color.apply(plane), gray.apply(plane).expand(3, -1, -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("n_channels", [2, 4, 12])
def test_other_numbers_of_channels_are_an_error_naming_the_image(n_channels: int) -> None:
    preprocessing = Preprocessing((4, 4), (0.0,) * 3, (1.0,) * 3, (4, 4))
    with pytest.raises(ImageError, match=f"x.png: {n_channels} channels"):
        preprocessing.apply(np.zeros((4, 4, n_channels), np.uint8), "x.png")


def test_normalization_is_taken_back_exactly_enough() -> None:
    preprocessing = Preprocessing((4, 4), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), (4, 4))
    x = torch.rand(2, 3, 4, 4)
    assert_close(preprocessing.to_unit(preprocessing.from_unit(x)), x, atol=1e-6, rtol=0)


def test_what_the_network_saw_is_the_picture_itself_where_nothing_is_resized(cat: np.ndarray) -> None:
    square = cat[:64, :64]
    model = Model(nn.Conv2d(3, 2, 3), (64, 64), [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    x = next(model.inputs(square).batches(1)).x
    np.testing.assert_array_equal(model.to_pixels(x)[0], square)


def test_an_array_that_is_upside_down_in_memory_is_read_as_it_is_seen(cat: np.ndarray) -> None:
    preprocessing = Preprocessing((64, 64), (0.0,) * 3, (1.0,) * 3, (64, 64))
    flipped = cat[::-1, ::-1]
    assert_close(preprocessing.apply(flipped), preprocessing.apply(flipped.copy()), atol=0, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"input_size": (0, 4)},
        {"resize_px": (4, 0)},
        {"mean": (0.5,)},
        {"mean": (), "std": ()},
        {"std": (1.0, 0.0, 1.0)},
        {"std": (1.0, float("nan"), 1.0)},
    ],
)
def test_impossible_options_are_errors(options: dict[str, object]) -> None:
    good = {"input_size": (4, 4), "mean": (0.5,) * 3, "std": (0.5,) * 3, "resize_px": (4, 4)}
    with pytest.raises(ParameterError):
        Preprocessing(**{**good, **options})


@pytest.mark.parametrize("shape", [(3, 40, 60), (2, 3, 30, 9), (1, 1, 1)])
@pytest.mark.parametrize("sigma", [0.5, 4.0])
def test_a_blur_along_one_side_after_the_other_is_that_of_torchvision(
    shape: tuple[int, ...], sigma: float
) -> None:
    x = torch.randn(shape)
    side = 2 * min(round(3 * sigma + 0.1), min(shape[-2:]) - 1) + 1  # of its kernel
    assert_close(gaussian_blur(x, sigma), blurred_at_once(x, [side, side], [sigma, sigma]), rtol=0, atol=1e-5)
