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
        ("inception_v3", 299, "Mixed_7c", 1311),
    ],
)
def test_they_are_those_of_araujo_norris_and_sim(network: str, size: int, layer: str, published: int) -> None:
    """Computing receptive fields of convolutional neural networks, Distill 2019."""
    assert layers_of(on_meta(network), size)[layer].receptive_field == (published, published)


@pytest.mark.parametrize(("network", "by_hand"), [("resnet18", 435), ("resnet50", 427)])
def test_residual_networks_follow_their_longest_path(network: str, by_hand: int) -> None:
    """7x7/2 and 3x3/2 see 11 pixels, 4 apart; then come 4, 4, 4, 4 or 3, 4, 6, 3 convolutions of 3x3.

    The stride of a stage is in its first 3x3 convolution (the published 483 of ResNet50 has it in the last).
    """
    assert layers_of(on_meta(network), 224)["layer4"].receptive_field == (by_hand, by_hand)


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
    # A whole line is poisoned at once, so the other side need not be long.
    rows, columns = torch.zeros(size, n_channels, size, 32), torch.zeros(size, n_channels, 32, size)
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
        self.mix = nn.Conv2d(2 * len(branches), 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(torch.cat([branch(x) for branch in self.branches], dim=1))


def conv(kernel: tuple[int, int], stride: int = 1, dilation: int = 1) -> nn.Module:
    padding = (dilation * (kernel[0] - 1) // 2, dilation * (kernel[1] - 1) // 2)
    return nn.Conv2d(2, 2, kernel, stride, padding, dilation)


odd = st.sampled_from([1, 3, 5])
convolutions = st.builds(conv, st.tuples(odd, odd), st.sampled_from([1, 1, 2]), st.sampled_from([1, 1, 2]))
pools = st.one_of(
    st.builds(nn.MaxPool2d, st.just(2)),
    st.builds(nn.AvgPool2d, st.just(3), st.just(2), st.just(1)),
    st.builds(nn.MaxPool2d, st.just(3), st.sampled_from([1, 2]), st.just(1), st.sampled_from([1, 2])),
)
same = st.builds(conv, st.tuples(odd, odd), st.just(1), st.sampled_from([1, 2]))
pointwise = st.one_of(st.builds(nn.ReLU, st.booleans()), st.builds(nn.BatchNorm2d, st.just(2)))
blocks = st.one_of(
    convolutions,
    pools,
    pointwise,
    st.builds(Residual, same),
    st.builds(lambda a, b, c: Branches(nn.Sequential(a, b), c), same, same, same),
)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.lists(blocks, min_size=1, max_size=3))
def test_they_are_what_a_poisoned_pixel_shows(parts: list[nn.Module]) -> None:
    size = 128
    module = nn.Sequential(conv((1, 1)), *parts).eval()
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
        nn.LayerNorm([2, 32, 32]),
        nn.Softmax2d(),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d(32),
    ],
    ids=lambda m: type(m).__name__,
)
def test_other_layers_are_what_a_poisoned_pixel_shows(mixing: nn.Module) -> None:
    module = nn.Sequential(conv((3, 3)), mixing).eval()
    expected = poisoned(module, 2, 32)["1"]
    found = layers_of(module, 32)["1"].receptive_field
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
