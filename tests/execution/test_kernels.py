"""The kernels against PyTorch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from convscope.execution import kernels
from convscope.execution.kernels import Convolution, Linear

aten = torch.ops.aten


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("block", [1, 40, 1 << 22])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 12), (50, 12), (3, 5, 7, 12)])
def test_a_linear_layer(
    keep: bool, block: int, has_bias: bool, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_BLOCK", block)
    x, weight, bias = torch.randn(shape), torch.randn(7, 12), torch.randn(7) if has_bias else None
    with torch.inference_mode():
        found = Linear(weight, bias, keep=keep).whole(x)
    torch.testing.assert_close(found, functional.linear(x, weight, bias), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize(
    "then", [(aten.relu.default, (), {}), (aten.elu.default, (0.5,), {})], ids=["fused", "after"]
)
def test_a_convolution_of_one_place_is_a_linear_layer(stride: tuple[int, int], then: kernels.Then) -> None:
    x = torch.randn(2, 6, 9, 8).to(memory_format=torch.channels_last)
    weight, bias = torch.randn(5, 6, 1, 1), torch.randn(5)
    kernel = Convolution(weight, bias, stride, (0, 0), (0, 0), (1, 1), 1, then)
    with torch.inference_mode():
        found = kernel.whole(x)
    assert then is not None
    expected = then[0](functional.conv2d(x, weight, bias, stride), *then[1])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)
