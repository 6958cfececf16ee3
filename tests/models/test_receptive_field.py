"""Receptive fields: as published, and as a poisoned pixel shows them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, reject, settings
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
        pytest.param("vgg16", 224, "features.30", 212, marks=pytest.mark.slow),
        pytest.param("inception_v3", 299, "Mixed_7c", 1311, marks=pytest.mark.slow),
    ],
)
def test_they_are_those_of_araujo_norris_and_sim(network: str, size: int, layer: str, published: int) -> None:
    """Computing receptive fields of convolutional neural networks, Distill 2019."""
    assert layers_of(on_meta(network), size)[layer].receptive_field == (published, published)


@pytest.mark.parametrize(("network", "by_hand"), [("resnet18", 435), ("resnet50", 427)])
@pytest.mark.slow
def test_residual_networks_follow_their_longest_path(network: str, by_hand: int) -> None:
    """7x7/2 and 3x3/2 see 11 pixels, 4 apart; then come 4, 4, 4, 4 or 3, 4, 6, 3 convolutions of 3x3.

    The stride of a stage is in its first 3x3 convolution (the published 483 of ResNet50 has it in the last).
    """
    assert layers_of(on_meta(network), 224)["layer4"].receptive_field == (by_hand, by_hand)


@pytest.mark.parametrize("network", ["alexnet", "resnet18"])
@pytest.mark.slow
def test_a_vector_depends_on_the_whole_image(network: str) -> None:
    layers = layers_of(on_meta(network), 224)
    assert list(layers.values())[-1].receptive_field is None


# --- the oracle: a pixel that is not a number makes everything that depends on it not a number ---------------


def poisoned(module: nn.Module, n_channels: int, size: int) -> dict[str, tuple[int, int] | None]:
    """Receptive field of every layer: the most input pixels that make one of its values NaN."""
    seen: dict[str, torch.Tensor] = {}
    for name, child in module.named_modules():
        if name:
            child.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out.detach().clone()))
    # A whole line is poisoned at once, so the other side need not be long.
    rows, columns = torch.zeros(size, n_channels, size, 32), torch.zeros(size, n_channels, 32, size)
    for i in range(size):
        rows[i, :, i, :] = float("nan")
        columns[i, :, :, i] = float("nan")

    def reach(x: torch.Tensor, across: int) -> dict[str, tuple[int, bool]]:
        with torch.no_grad():
            module(x)
        hit = {n: v.isnan().any(dim=1).select(across, v.shape[across + 1] // 2) for n, v in seen.items()}
        fields = {n: [places.nonzero() for places in h.T if places.any()] for n, h in hit.items()}
        return {
            n: (max(int(f.max() - f.min()) + 1 for f in found), all(len(f) == size for f in found))
            for n, found in fields.items()
        }

    height, width = reach(rows, 2), reach(columns, 1)
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
@pytest.mark.slow
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


resizing = st.one_of(
    st.builds(
        nn.Upsample, st.none(), st.sampled_from([2, 4, 1.5]), st.sampled_from(["nearest", "bilinear", "bicubic"])
    ),
    st.builds(nn.Upsample, st.none(), st.sampled_from([2, 3]), st.just("bilinear"), st.just(True)),
    st.builds(nn.Upsample, st.none(), st.just(0.5), st.sampled_from(["nearest", "bilinear"])),
    st.builds(nn.ConvTranspose2d, st.just(2), st.just(2), st.sampled_from([2, 3, 4]), st.just(2)),
)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.one_of(blocks, resizing, st.builds(nn.AvgPool2d, st.just(4))), max_size=3), resizing)
def test_they_are_never_too_small_where_maps_are_resized(parts: list[nn.Module], last: nn.Module) -> None:
    size = 64
    module = nn.Sequential(conv((1, 1)), *parts, last, Residual(conv((3, 3)))).eval()
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.5, 1.0)
    try:
        expected = poisoned(module, 2, size)
    except RuntimeError:
        reject()  # nothing is left of the map
    for layer in Model(module).layers((size, size)):
        truth, found = expected.get(layer.name), layer.receptive_field
        if truth is not None and found is not None:
            assert found[0] >= truth[0], layer.name
            assert found[1] >= truth[1], layer.name


@pytest.mark.parametrize(
    ("parts", "truth", "found"),
    [
        ([nn.AvgPool2d(4), nn.Upsample(scale_factor=4)], 4, 4),
        ([nn.AvgPool2d(4), nn.Upsample(scale_factor=4), conv((3, 3))], 8, 9),
        ([conv((3, 3)), nn.Upsample(scale_factor=2, mode="bilinear")], 4, 4),
        ([conv((3, 3)), nn.Upsample(scale_factor=2, mode="bicubic")], 6, 6),
        ([nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear")], 4, 4),
        ([conv((3, 3)), nn.PixelShuffle(1)], 3, 3),
    ],
)
def test_resizing_by_hand(parts: list[nn.Module], truth: int, found: int) -> None:
    """What is copied and then convolved has a bound a little above the truth; the rest is exact."""
    module = nn.Sequential(conv((1, 1)), *parts).eval()
    name = str(len(parts))
    assert poisoned(module, 2, 32)[name] == (truth, truth)
    assert layers_of(module, 32)[name].receptive_field == (found, found)


class Gate(nn.Module):
    """The map times a function of it."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.function(x)


GATES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "norm": lambda x: x.norm(dim=(2, 3), keepdim=True),
    "vector norm": lambda x: torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True),
    "variance": lambda x: x.var(dim=(2, 3), keepdim=True),
    "deviation": lambda x: x.std(dim=(2, 3), keepdim=True),
    "variance and mean": lambda x: torch.var_mean(x, dim=(2, 3), keepdim=True)[0],
    "largest": lambda x: x.flatten(2).max(2)[0][:, :, None, None],
    "smallest": lambda x: x.flatten(2).min(2)[0][:, :, None, None],
    "amin": lambda x: x.amin(dim=(2, 3), keepdim=True),
    "logsumexp": lambda x: x.logsumexp(dim=(2, 3), keepdim=True),
    "product": lambda x: x.flatten(2).prod(2)[:, :, None, None],
    "of the channels": lambda x: x.norm(dim=1, keepdim=True) + x.max(1, keepdim=True)[0] + x.var(1, keepdim=True),
    "of the channels, last": lambda x: x.permute(0, 2, 3, 1).norm(dim=-1, keepdim=True).permute(0, 3, 1, 2),
}


@pytest.mark.parametrize("name", GATES)
def test_reductions_are_what_a_poisoned_pixel_shows(name: str) -> None:
    module = nn.Sequential(conv((3, 3)), Gate(GATES[name])).eval()
    truth = poisoned(module, 2, 32)["1"]
    assert truth == ((3, 3) if name.startswith("of the channels") else None)
    assert layers_of(module, 32)["1"].receptive_field == truth


def test_a_sum_over_everything_depends_on_the_whole_image() -> None:
    layers = layers_of(nn.Sequential(conv((3, 3)), Gate(lambda x: x.sum())), 16)
    assert layers["1"].receptive_field is None


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


# --- where these pixels lie --------------------------------------------------------------------------------------


class Framed(nn.Module):
    """Padded as TensorFlow does it, unlike in front and behind; and cut."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x, (0, 1, 0, 1))[:, :, 1:, ::2]


def rows_seen(module: nn.Module, n_channels: int, size: int) -> dict[str, list[tuple[int, int] | None]]:
    """For each row of each layer, the first input row that makes it NaN, and the one behind the last; or None."""
    seen: dict[str, torch.Tensor] = {}
    for name, child in module.named_modules():
        child.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out.detach().clone()))
    rows = torch.zeros(size, n_channels, size, size)
    for i in range(size):
        rows[i, :, i] = float("nan")
    with torch.no_grad():
        module(rows)
    hits = {name: values.isnan().any(dim=1).any(dim=2) for name, values in seen.items() if name}
    return {
        name: [(int(row.nonzero().min()), int(row.nonzero().max()) + 1) if row.any() else None for row in hit.T]
        for name, hit in hits.items()
    }


def rows_stated(layer: Layer, size: int) -> list[tuple[int, int]]:
    first, last, step = layer.pixels[0]
    return [
        (max(0, math.floor(first + i * step)), min(size, math.ceil(last + i * step)))
        for i in range(layer.shape[1])
    ]


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv2d(2, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 2, 5, 2, 1)),
        nn.Sequential(nn.Conv2d(2, 2, 4, 2, 1), nn.AvgPool2d(3, 2, 1), nn.Conv2d(2, 2, 3, padding=2)),
        nn.Sequential(Framed(), nn.Conv2d(2, 2, 3, 2), Framed(), nn.ReLU()),
        Branches(nn.Conv2d(2, 2, 3, padding=(2, 1)), nn.Conv2d(2, 2, (5, 3), padding=(3, 1))),
        nn.Sequential(nn.Conv2d(2, 2, 2, 2), nn.PixelShuffle(1), Residual(nn.Conv2d(2, 2, 3, padding=1))),
    ],
)  # fmt: skip
def test_the_pixels_of_each_value_are_those_that_it_depends_on(module: nn.Module) -> None:
    size = 32
    layers, seen = layers_of(module, size), rows_seen(module.eval(), 2, size)
    for name, rows in seen.items():
        stated = rows_stated(layers[name], size) if name in layers else rows
        assert [s for s, row in zip(stated, rows, strict=True) if row] == [row for row in rows if row], name


@pytest.mark.parametrize(
    "resizing",
    [
        *(
            nn.Upsample(scale_factor=by, mode=how)
            for how in ("nearest", "bilinear", "bicubic")
            for by in (2.0, 0.4)
        ),
        nn.ConvTranspose2d(2, 2, 4, 2, 1),
        nn.Conv2d(2, 2, 3, 2, 1, 2),  # a gap of its taps may lie at the border
    ],
    ids=str,
)
def test_elsewhere_the_pixels_cover_those_that_it_depends_on(resizing: nn.Module) -> None:
    size = 32
    module = nn.Sequential(nn.Conv2d(2, 2, 3, 2, 1), resizing, nn.Conv2d(2, 2, 3))
    layers, seen = layers_of(module, size), rows_seen(module.eval(), 2, size)
    for name, rows in seen.items():
        for row, stated in zip(rows, rows_stated(layers[name], size), strict=True):
            assert row is None or stated[0] <= row[0]
            assert row is None or row[1] <= stated[1]
