"""Receptive fields: as published, and as a poisoned pixel shows them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convscope import Layer, Model


def on_meta(name: str) -> nn.Module:
    extra = {"init_weights": False} if name == "inception_v3" else {}
    with torch.device("meta"):
        module = torchvision.models.get_model(name, weights=None, **extra)
    return module.to_empty(device="cpu")


def layers_of(module: nn.Module, size: int) -> dict[str, Layer]:
    return {layer.name: layer for layer in Model(module).layers((size, size))}


@pytest.mark.parametrize(
    ("network", "size", "layer", "published"),
    [
        ("alexnet", 224, "features.12", 195),
        ("vgg16", 224, "features.30", 212),
        ("resnet18", 224, "layer4", 435),
        ("resnet50", 224, "layer4", 483),
        ("inception_v3", 299, "Mixed_7c", 1311),
    ],
)
def test_they_are_those_of_araujo_norris_and_sim(network: str, size: int, layer: str, published: int) -> None:
    """Computing receptive fields of convolutional neural networks, Distill 2019, table 1.

    Their ResNets (slim's v1) have the stride in another convolution than torchvision's: there the value is that
    of torchvision's own strides, checked by hand.
    """
    found = layers_of(on_meta(network), size)[layer].receptive_field
    assert found == (published, published)


@pytest.mark.parametrize("network", ["alexnet", "resnet18"])
def test_a_vector_depends_on_the_whole_image(network: str) -> None:
    layers = layers_of(on_meta(network), 224)
    assert list(layers.values())[-1].receptive_field is None


# --- the oracle: a pixel that is not a number makes everything that depends on it not a number ---------------


def poisoned(module: nn.Module, n_channels: int, size: int) -> dict[str, tuple[int, int] | None]:
    """Receptive field of every layer: all input pixels that make its central value NaN."""
    seen: dict[str, torch.Tensor] = {}
    for name, child in module.named_modules():
        if name:
            child.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out.detach().clone()))
    rows = torch.zeros(size, n_channels, size, size)
    columns = rows.clone()
    for i in range(size):
        rows[i, :, i, :] = float("nan")
        columns[i, :, :, i] = float("nan")

    def reach(x: torch.Tensor) -> dict[str, tuple[int, bool]]:
        with torch.no_grad():
            module(x)
        hit = {n: v[:, :, v.shape[2] // 2, v.shape[3] // 2].isnan().any(dim=1).nonzero() for n, v in seen.items()}
        return {n: (int(h.max() - h.min()) + 1, len(h) == size) for n, h in hit.items()}

    height, width = reach(rows), reach(columns)
    return {n: None if height[n][1] and width[n][1] else (height[n][0], width[n][0]) for n in height}


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + x)


class Branches(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)[:, : x.shape[1]]


class Reverse(nn.Module):
    """Channels in another order, so that the cut of `Branches` keeps some of each branch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, torch.arange(x.shape[1] - 1, -1, -1)]


def conv(kernel: tuple[int, int], stride: int = 1, dilation: int = 1) -> nn.Module:
    padding = (dilation * (kernel[0] - 1) // 2, dilation * (kernel[1] - 1) // 2)
    return nn.Conv2d(2, 2, kernel, stride, padding, dilation)


odd = st.sampled_from([1, 3, 5])
convolutions = st.builds(conv, st.tuples(odd, odd), st.sampled_from([1, 1, 2]), st.sampled_from([1, 1, 2]))
pools = st.sampled_from([nn.MaxPool2d(2), nn.AvgPool2d(3, 2, 1), nn.MaxPool2d(3, 1, 1), nn.MaxPool2d(3, 2, 1, 1)])
same = st.builds(conv, st.tuples(odd, odd), st.just(1), st.sampled_from([1, 2]))
pointwise = st.sampled_from([nn.ReLU(), nn.ReLU(inplace=True), nn.BatchNorm2d(2), nn.Identity(), Reverse()])
blocks = st.one_of(
    convolutions,
    pools,
    pointwise,
    st.builds(Residual, same),
    st.builds(lambda a, b, c: Branches(nn.Sequential(a, b), c), same, same, same),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(blocks, min_size=1, max_size=4))
def test_they_are_what_a_poisoned_pixel_shows(parts: list[nn.Module]) -> None:
    size = 96
    module = nn.Sequential(*parts).eval()
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.5, 1.0)
    expected = poisoned(module, 2, size)
    for layer in Model(module).layers((size, size)):
        if layer.name not in expected or ":" in layer.name:
            continue
        assert layer.receptive_field == expected[layer.name], layer.name


@pytest.mark.parametrize(
    "mixing",
    [
        nn.GroupNorm(1, 2),
        nn.InstanceNorm2d(2),
        nn.LayerNorm([2, 24, 24]),
        nn.Softmax2d(),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d(24),
    ],
    ids=lambda m: type(m).__name__,
)
def test_what_mixes_all_positions_depends_on_the_whole_image(mixing: nn.Module) -> None:
    module = nn.Sequential(conv((3, 3)), mixing).eval()
    expected = poisoned(module, 2, 24)["1"]
    found = layers_of(module, 24)["1"].receptive_field
    assert found == expected


def test_squeeze_and_excitation_depends_on_the_whole_image() -> None:
    class Excite(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x.mean(dim=(2, 3), keepdim=True).sigmoid()

    layers = layers_of(nn.Sequential(conv((3, 3)), Excite()), 16)
    assert layers["0"].receptive_field == (3, 3)
    assert layers["1"].receptive_field is None


def test_skipping_pixels_by_slicing_counts_as_a_stride() -> None:
    class Skip(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, ::2, ::4]

    module = nn.Sequential(Skip(), conv((3, 3)))
    expected = poisoned(module, 2, 48)
    found = layers_of(module, 48)
    assert found["1"].receptive_field == expected["1"] == (5, 9)
