"""What feeds a channel, against setting sources to zero by hand, and where no single convolution does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from convscope import ImageError, LayerError, Model, ModelError, feeds, scan


def statistics_of(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """Batch norm with weights and statistics as after training."""
    n = norm.num_features
    with torch.no_grad():
        norm.running_mean.copy_(torch.randn(n))
        norm.running_var.copy_(torch.rand(n) + 0.5)
        norm.weight.copy_(torch.randn(n))
        norm.bias.copy_(torch.randn(n))
    return norm


def network(second: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    out = second.out_channels
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), second, statistics_of(nn.BatchNorm2d(out)), nn.ReLU(), nn.Conv2d(out, 3, 1)
    )


def noise(n: int = 20) -> torch.Tensor:
    return torch.randn(n, 2, 10, 10, generator=torch.Generator().manual_seed(3))


def mean_without(module: nn.Module, x: torch.Tensor, source: str, channel: int | None, layer: str) -> torch.Tensor:
    """The means (C,) at a layer with a source channel set to zero by a hook."""
    seen: list[torch.Tensor] = []

    def zero(_: nn.Module, __: Any, out: torch.Tensor) -> torch.Tensor:
        out = out.clone()
        if channel is not None:
            out[:, channel] = 0
        return out

    hooks = [
        module.get_submodule(source).register_forward_hook(zero),
        module.get_submodule(layer).register_forward_hook(lambda _, __, out: seen.append(out.clone())),
    ]
    with torch.no_grad():
        module.eval()(x)
    for hook in hooks:
        hook.remove()
    return seen[0].double().mean(dim=(0, 2, 3))


@pytest.mark.parametrize(
    "second",
    [
        nn.Conv2d(6, 4, 1),
        nn.Conv2d(6, 4, 1, bias=False),
        nn.Conv2d(6, 4, 1, groups=2),
        nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular", groups=6),  # no borders
        nn.Conv2d(6, 4, 3, padding=1, padding_mode="circular", groups=2),
    ],
    ids=["1x1", "no bias", "groups", "depthwise", "grouped kernel"],
)
def test_without_a_source_the_mean_falls_by_its_contribution(second: nn.Module) -> None:
    module, x = network(second), noise()
    found = feeds(module, x, layer="4")
    assert (found.source, found.convolution) == ("1", "2")
    plain = mean_without(module, x, "1", None, "3")
    np.testing.assert_allclose(found.contributions.sum(axis=1) + found.biases, plain, rtol=1e-4, atol=1e-5)
    for channel in range(6):
        fall = plain - mean_without(module, x, "1", channel, "3")
        np.testing.assert_allclose(found.contributions[:, channel], fall, rtol=1e-4, atol=1e-5)


def test_of_the_convolution_itself_the_norm_is_not_part() -> None:
    module, x = network(nn.Conv2d(6, 4, 1)), noise()
    found = feeds(module, x, layer="2", channel=[3, 0])
    plain = mean_without(module, x, "1", None, "2")
    np.testing.assert_allclose(found.contributions.sum(axis=1) + found.biases, plain[[3, 0]], rtol=1e-4, atol=1e-5)
    assert found.channels.tolist() == [3, 0]


def test_with_zeros_around_it_holds_inside_of_the_borders() -> None:
    torch.manual_seed(0)
    source = nn.Conv2d(2, 3, 1)
    nn.init.zeros_(source.weight)  # constant maps, so that all places but the borders are alike
    module = nn.Sequential(source, nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    found = feeds(module, noise(2), layer="2")
    with torch.no_grad():
        inside = module[1](source(noise(2)))[:, :, 1:-1, 1:-1].mean(dim=(0, 2, 3))
    np.testing.assert_allclose(found.contributions.sum(axis=1) + found.biases, inside, rtol=1e-4, atol=1e-5)
    assert any("borders" in note for note in found.provenance.notes)


@pytest.mark.parametrize(
    ("second", "is_exact"),
    [
        (nn.Conv2d(3, 4, 1), True),
        (nn.Conv2d(3, 4, 1, stride=2), False),
        (nn.Conv2d(3, 4, 1, padding=1), False),
        (nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 1)), False),
    ],
    ids=["1x1", "stride", "padding", "padded before"],
)
def test_a_note_says_where_means_are_not_exact(second: nn.Module, is_exact: bool) -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), second).eval()
    found = feeds(module, noise(2), layer="1")
    with torch.no_grad():
        plain = module(noise(2)).mean(dim=(0, 2, 3)).numpy()
    assert any("borders and strides" in note for note in found.provenance.notes) == (not is_exact)
    assert np.allclose(found.contributions.sum(axis=1) + found.biases, plain, rtol=1e-4, atol=1e-5) == is_exact


def test_the_largest_come_first_with_their_signs() -> None:
    module = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 1, 1), nn.ReLU())
    with torch.no_grad():
        module[0].weight.zero_()
        module[0].bias.copy_(torch.tensor([1.0, 2, 3, 0]))
        module[1].weight[0, :, 0, 0] = torch.tensor([5.0, -4, 1, 9])
    found = feeds(module, noise(2), layer="2", channel=0)
    assert [(feed.channel, feed.contribution) for feed in found.top(0, k=4)] == [(1, -8), (0, 5), (2, 3)]
    assert "1 (-8), 0 (+5), 2 (+3)" in repr(found)


class Functional(nn.Module):
    """Activations, pooling and padding as functions; the classifier behind a pooled map."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Conv2d(2, 3, 3), statistics_of(nn.BatchNorm2d(3))
        self.second, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu_(self.norm(self.first(x))), 2)
        x = F.relu(self.second(F.pad(x, (1, 1, 1, 1))))
        return self.last(F.adaptive_avg_pool2d(x, 1).flatten(1))


def test_the_source_is_found_through_functions_and_what_is_read_is_measured_before_padding() -> None:
    module, x = Functional().eval(), noise()
    found = feeds(module, x, layer="second")
    assert found.sources == ("norm", "first")
    with torch.no_grad():
        read = F.max_pool2d(F.relu(module.norm(module.first(x))), 2)
    np.testing.assert_allclose(found.weights, module.second.weight.detach().sum(dim=(2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.means, F.pad(read, (1, 1, 1, 1)).mean(dim=(0, 2, 3)), rtol=1e-4)


def test_the_classes_are_fed_by_the_channels_of_the_last_map() -> None:
    module, x = Functional().eval(), noise()
    found = feeds(module, x, layer="last")
    assert found.sources == ("second",)
    with torch.no_grad():
        scores = module(x).double().mean(dim=0)
    np.testing.assert_allclose(found.contributions.sum(axis=1) + found.biases, scores, rtol=1e-4, atol=1e-5)


def test_in_a_residual_network_the_end_of_a_block_is_a_source_but_has_none() -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    module = torchvision.models.resnet18(weights=None).eval()
    x = torch.randn(2, 3, 64, 64)
    assert feeds(module, x, layer="layer2.0.relu", channel=3).source == "layer1"
    found = feeds(module, x, layer="layer2.0.bn2", channel=3)
    assert found.source == "layer2.0.relu"
    assert "layer2.0.bn1" in found.sources
    with pytest.raises(LayerError, match=r"'add' makes them; name one of its parts, such as 'layer2\.0"):
        feeds(module, x, layer="layer2.0", channel=3)
    with pytest.raises(LayerError, match="reads the network's input"):
        feeds(module, x, layer="maxpool", channel=3)


def test_a_scan_brings_the_means_of_a_layer_that_it_holds(tmp_path: Path) -> None:
    module, x = network(nn.Conv2d(6, 4, 1)), noise()
    expected = feeds(module, x, layer="4", channel=1)
    steps = list[int]()
    scanned = scan(module, x, layers=["1", "4"])
    found = feeds(module, scanned, layer="4", channel=1, progress=lambda done, _: steps.append(done))
    assert steps == []
    np.testing.assert_allclose(found.means, expected.means, rtol=1e-5)
    assert "from the scan" in " ".join(found.provenance.notes)
    with pytest.raises(ImageError, match="layer '1' was not scanned"):
        feeds(module, scan(module, x, layers="4"), layer="4", channel=1)
    with pytest.raises(ModelError, match="other weights"):
        feeds(network(nn.Conv2d(6, 4, 1)).double(), scanned, layer="4", channel=1)
    for i in range(3):
        Image.new("L", (10, 10), 60 * i).save(tmp_path / f"{i}.png")
    model = Model(
        nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1)),
        input_size=(10, 10),
        mean=[0.5],
        std=[0.5],
    )
    of_files = feeds(model, scan(model, tmp_path, layers="2"), layer="2", channel=0)
    np.testing.assert_allclose(of_files.means, feeds(model, tmp_path, layer="2").means, rtol=1e-6)
