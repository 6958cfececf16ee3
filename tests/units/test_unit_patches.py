"""Patches: the pixels of planted patches, and gradients taken by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convscope import ImageError, Model, ModelError, scan, unit_patches

SIGNS = torch.tensor(
    [[1.0, -1, 1, -1, 1], [-1, 1, -1, 1, -1], [1, 1, -1, -1, 1], [-1, 1, 1, 1, -1], [1, -1, 1, 1, 1]]
)
PATCH = ((SIGNS + 1) * 127.5).to(torch.uint8).numpy()
SIZE = 24


def detector() -> nn.Module:
    """Channel 0 has one convolution of 5 x 5 and stride 2, as the planted patch; channel 1 is random."""
    torch.manual_seed(1)
    conv = nn.Conv2d(1, 2, 5, 2, 2)
    with torch.no_grad():
        conv.weight[0, 0], conv.bias[0] = SIGNS, 0
    return nn.Sequential(conv, nn.ReLU())


def photos(n: int) -> tuple[list[np.ndarray], dict[int, tuple[int, int]]]:
    """Noisy gray pictures, every third with the patch at a place that a window of the convolution covers."""
    rng, planted = np.random.default_rng(0), {}
    pictures = [rng.integers(96, 160, (SIZE, SIZE), np.uint8) for _ in range(n)]
    for i in range(0, n, 3):
        row, column = 2 * rng.integers(1, 8, 2)
        pictures[i][row : row + 5, column : column + 5] = PATCH
        planted[i] = (int(row), int(column))
    return [np.repeat(picture[:, :, None], 3, axis=2) for picture in pictures], planted


def test_the_top_patches_of_a_planted_detector_show_the_patch() -> None:
    pictures, planted = photos(30)
    model = Model(detector(), input_size=(SIZE, SIZE), mean=[0.5], std=[0.5])
    found = scan(model, pictures, layers="1", k=10)
    patches = unit_patches(model, found, "1", 0, images=pictures, k=10)
    assert patches.field == "exact"
    numbers = [found.names.index(name) for name in patches.names]
    assert sorted(numbers) == sorted(planted)
    for number, box, pixels in zip(numbers, patches.boxes.tolist(), patches.pixels, strict=True):
        row, column = planted[number]
        assert box == [row, column, row + 5, column + 5]
        np.testing.assert_array_equal(pixels[..., 0], PATCH)
    low = unit_patches(model, found, "1", 0, images=pictures, k=3, which="low")
    assert low.values.max() <= patches.values.min()
    assert not {*low.names} & {*patches.names}


def test_files_are_opened_by_their_names(tmp_path: Path) -> None:
    pictures, _ = photos(6)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    model = Model(detector(), input_size=(SIZE, SIZE), mean=[0.5], std=[0.5])
    found = scan(model, tmp_path, layers="1")
    patches = unit_patches(model, found, "1", 0, k=2)
    np.testing.assert_array_equal(patches.pixels[0][..., 0], PATCH)
    # The image is another one by now, and so is the patch.
    Image.fromarray(255 - pictures[int(Path(patches.names[0]).stem)]).save(patches.names[0])
    with pytest.raises(ImageError, match="where the scan found"):
        unit_patches(model, found, "1", 0, k=2)
    Path(patches.names[0]).unlink()
    with pytest.raises(ImageError, match="give the scanned images"):
        unit_patches(model, found, "1", 0, k=2)


class Excited(nn.Module):
    """A map whose every value depends on the whole image, most of all on its own surroundings."""

    def __init__(self, clip: float) -> None:
        super().__init__()
        self.conv, self.clip = nn.Conv2d(1, 3, 5, padding=2), clip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.conv(x)
        return (maps * maps.mean(dim=(2, 3), keepdim=True).sigmoid()).clamp(max=self.clip)


def by_hand(network: nn.Module, x: torch.Tensor, channels: list[int], position: tuple[int, ...]) -> np.ndarray:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[0, channels, position[0], position[1]].sum(), x)
    return gradient.abs().sum(dim=(0, 1)).numpy()


@pytest.mark.parametrize(("clip", "channels"), [(1e6, [1]), (-10.0, [0, 1, 2])])
def test_where_the_field_is_the_whole_image_the_box_holds_nine_tenths_of_the_gradient(
    clip: float, channels: list[int]
) -> None:
    """With a clip below all values of channel 1, no gradient is left there, and all channels take its place."""
    torch.manual_seed(0)
    layer = Excited(1e6)
    if clip < 0:
        nn.init.constant_(layer.conv.bias, 0)
        layer.register_forward_hook(
            lambda _, __, out: torch.stack([out[:, 0], out[:, 1].detach(), out[:, 2]], dim=1)
        )
    network, x = nn.Sequential(layer, nn.Identity()), torch.randn(4, 1, SIZE, SIZE)
    found = scan(network, x, layers="0")
    patches = unit_patches(network, found, "0", 1, images=x, k=4)
    assert patches.field == "effective"
    assert bool(patches.provenance.notes and "all channels" in patches.provenance.notes[-1]) == (clip < 0)
    for name, position, box in zip(patches.names, patches.positions.tolist(), patches.boxes.tolist(), strict=True):
        sizes = by_hand(network, x[[int(name.split()[-1])]], channels, tuple(position))
        top, left, bottom, right = box
        assert sizes[top:bottom, left:right].sum() >= 0.9 * sizes.sum()
        assert (bottom - top) * (right - left) < SIZE * SIZE
        outside = 0.025 * sizes.sum()
        for beyond, one_more in (
            (sizes[:top], sizes[: top + 1]),
            (sizes[bottom:], sizes[bottom - 1 :]),
            (sizes[:, :left], sizes[:, : left + 1]),
            (sizes[:, right:], sizes[:, right - 1 :]),
        ):
            assert beyond.sum() <= outside * (1 + 1e-5)
            assert one_more.sum() > outside * (1 - 1e-5)


@pytest.mark.parametrize("network", [nn.Conv2d(1, 2, 3), Excited(1e6)])
def test_where_the_channel_is_zero_everywhere_the_patch_is_the_whole_image(network: nn.Module) -> None:
    """Of a ReLU that is zero at all places the first one has the highest value, and says nothing."""
    torch.manual_seed(0)
    layer = network if isinstance(network, nn.Conv2d) else network.conv
    x = torch.rand(4, 1, SIZE, SIZE)
    x[:2] *= -1  # the channel is the darkness of the image
    nn.init.constant_(layer.weight, -1)
    nn.init.constant_(layer.bias, 0)
    model = nn.Sequential(network, nn.ReLU())
    patches = unit_patches(model, scan(model, x, layers="1"), "1", 1, images=x, k=4)
    assert patches.field == ("exact" if layer is network else "effective")
    assert patches.fires.tolist() == [True, True, False, False]
    assert patches.boxes[2:].tolist() == [[0, 0, SIZE, SIZE]] * 2
    assert all(box != [0, 0, SIZE, SIZE] for box in patches.boxes[:2].tolist())
    assert not any("all channels" in note for note in patches.provenance.notes)


def test_another_network_and_other_images_are_refused() -> None:
    x = torch.randn(4, 1, SIZE, SIZE)
    found = scan(detector(), x, layers="1")
    other = detector()
    nn.init.ones_(other[0].weight)
    with pytest.raises(ModelError, match="other weights than the network of this scan, Sequential"):
        unit_patches(other, found, "1", 0, images=x)
    seen = Model(detector(), input_size=SIZE, mean=[0.5], std=[0.5])
    darker = Model(seen.network, input_size=SIZE, mean=[0.6], std=[0.5])
    with pytest.raises(ModelError, match=r"in the scan; give the scan's mean=\(0.5,\)$"):
        unit_patches(darker, scan(seen, photos(3)[0], layers="1"), "1", 0, images=photos(3)[0])
    with pytest.raises(ImageError, match="not among the given images"):
        unit_patches(detector(), found, "1", 0, images=x[:2])
    signals = nn.Sequential(nn.Conv1d(1, 2, 3))
    x = torch.randn(3, 1, 20)
    with pytest.raises(ImageError, match="cut out of pictures"):
        unit_patches(signals, scan(signals, x, layers="0"), "0", 0, images=x)
