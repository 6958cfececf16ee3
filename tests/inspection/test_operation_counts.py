"""Multiplications and parameters, against the formulas by hand."""

from __future__ import annotations

import torch
from tests.conftest import tiny_network
from torch import nn
from torch.nn import functional

from convscope.inspection.operation_counts import counted


def macs(module: nn.Module, *shape: int) -> int:
    return counted(module, torch.randn(1, *shape)).n_macs


def test_a_convolution_takes_its_weights_at_each_place() -> None:
    net = nn.Conv2d(6, 8, (3, 5), stride=2, padding=1, groups=2)
    height, width = (12 + 2 - 3) // 2 + 1, (20 + 2 - 5) // 2 + 1
    assert macs(net, 6, 12, 20) == 8 * height * width * (6 // 2) * 3 * 5
    assert macs(nn.Conv1d(4, 5, 3), 4, 10) == 5 * 8 * 4 * 3
    assert macs(nn.Conv3d(2, 3, 2), 2, 4, 5, 6) == 3 * (3 * 4 * 5) * 2 * 8


def test_a_transposed_convolution_takes_its_weights_at_each_place_of_its_input() -> None:
    assert macs(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), 4, 5, 7) == 4 * 5 * 7 * (6 // 2) * 9


def test_a_linear_layer_takes_its_weights_for_each_vector() -> None:
    assert macs(nn.Linear(7, 5), 7) == 35
    assert macs(nn.Linear(7, 5, bias=False), 9, 7) == 9 * 35


def test_products_in_functions_count_too() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            attention = x @ x.transpose(1, 2)  # (1, 4, 6) (1, 6, 4)
            return torch.einsum("ntd,de->nte", attention @ x, self.weight)

    assert macs(Product(), 4, 6) == 4 * 6 * 4 + 4 * 4 * 6 + 4 * 6 * 5
    found = counted(Product(), torch.randn(1, 4, 6)).calls
    assert [(call.name, call.kind, call.n_parameters, call.n_macs) for call in found] == [("", "Product", 30, 312)]


def test_attention_takes_two_products() -> None:
    t, d, heads = 5, 8, 2
    by_hand = 4 * t * d * d + 2 * heads * t * t * (d // heads)
    net = nn.MultiheadAttention(d, heads, batch_first=True)

    class Itself(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x, need_weights=False)[0]

    assert macs(Itself(), t, d) == by_hand

    class Plain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.scaled_dot_product_attention(x, x, x)

    assert macs(Plain(), heads, t, 4) == 2 * heads * t * t * 4


def test_a_recurrent_layer_takes_its_weights_at_each_step() -> None:
    net = nn.LSTM(6, 5, batch_first=True)
    assert macs(net, 7, 6) == 7 * 4 * 5 * (6 + 5)


def test_what_is_not_counted_is_named() -> None:
    class Spectrum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.rfft(x).abs()

    assert counted(Spectrum(), torch.randn(1, 8)).uncounted == {"_fft_r2c"}
    assert counted(tiny_network(), torch.randn(1, 3, 16, 16)).uncounted == set()


def test_calls_are_those_of_modules_with_their_own_parameters() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    net = nn.Sequential(conv, nn.ReLU(), nn.Sequential(conv, nn.Dropout(), nn.Flatten()), nn.Linear(48, 2))
    found = counted(net, torch.randn(1, 3, 4, 4))
    assert [(call.name, call.shape, call.n_parameters, call.n_macs) for call in found.calls if call.computes] == [
        ("0", (3, 4, 4), 84, 3 * 16 * 27),
        ("1", (3, 4, 4), 0, 0),
        ("0:1", (3, 4, 4), 0, 3 * 16 * 27),  # the same weights again
        ("2.2", (48,), 0, 0),
        ("3", (2,), 98, 96),
    ]
    assert found.output.shape == (1, 2)
    assert found.n_macs == 2 * 3 * 16 * 27 + 96


def test_the_network_is_left_as_it_was() -> None:
    net = tiny_network().train()
    counted(net, torch.randn(1, 3, 16, 16))
    assert net.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
