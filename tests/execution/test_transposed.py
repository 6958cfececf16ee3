"""Gradients at a convolution's input, against autograd's."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from convscope.execution import transposed
from convscope.execution.kernels import Convolution
from convscope.execution.transposed import Transposed


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(
    ("kernel", "stride", "before", "after"),
    [
        ((7, 7), 2, (3, 3), (3, 3)),
        ((4, 4), 4, (0, 0), (0, 0)),
        ((5, 4), 3, (0, 2), (1, 0)),  # borders that differ
        ((4, 6), 2, (1, 5), (4, 5)),
        ((4, 4), 5, (2, 2), (2, 2)),  # pixels between the kernels
        ((4, 5), 1, (0, 0), (0, 0)),
    ],
)
@pytest.mark.parametrize("size", [(19, 23), (20, 16)])  # rows at the end that no kernel reaches, or all
def test_gradients_are_those_of_autograd(
    channels: int,
    kernel: tuple[int, int],
    stride: int,
    before: tuple[int, int],
    after: tuple[int, int],
    size: tuple[int, int],
) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, channels, *kernel, generator=generator)
    x = torch.randn(2, channels, *size, generator=generator, requires_grad=True)
    out = functional.conv2d(functional.pad(x, (before[1], after[1], before[0], after[0])), weight, stride=stride)
    gradient = torch.randn(out.shape, generator=generator)
    (expected,) = torch.autograd.grad(out, x, gradient)
    forward = Convolution(weight, None, (stride, stride), before, after, (1, 1), 1, None)
    found = Transposed(forward, weight)
    is_shuffled = stride > 1 and channels <= transposed.FEW_CHANNELS
    assert (found._shuffled is not None) == is_shuffled
    assert_close(found(gradient, None, x.shape), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("groups", "dilation", "stride"), [(1, 2, (1, 1)), (4, 1, (2, 2)), (8, 2, (3, 1))])
def test_weights_packed_for_one_size_serve_every_other(
    groups: int, dilation: int, stride: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(16, 8 // groups, 3, 3, generator=generator)
    options = {"stride": stride, "padding": 1, "dilation": dilation, "groups": groups}
    border = (1, 1)
    forward = Convolution(weight, None, stride, border, border, (dilation, dilation), groups, None)
    found = Transposed(forward, weight)
    for shape in ((1, 8, 9, 12), (3, 8, 30, 7), (2, 8, 10, 11)):
        x = torch.randn(shape, generator=generator, requires_grad=True)
        out = functional.conv2d(x, weight, **options)
        gradient = torch.randn(out.shape, generator=generator)
        (expected,) = torch.autograd.grad(out, x, gradient)
        assert_close(found(gradient, None, x.shape), expected, rtol=1e-5, atol=1e-4)
