"""Batch norm folded into convolutions: the same function, and only where that is so."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.testing import assert_close

from convscope import load_model
from convscope.execution import folded_batch_norm


def random_norms(module: nn.Module) -> nn.Module:
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2)
            if m.affine:
                nn.init.normal_(m.weight, 1, 0.2)
                nn.init.normal_(m.bias)
    return module.eval()


class Net(nn.Module):
    """One convolution that can be folded, and, by ``case``, one that cannot."""

    def __init__(self, case: str) -> None:
        super().__init__()
        self.case = case
        self.first, self.norm1 = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.second, self.norm2 = nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.BatchNorm2d(8, affine=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm1(self.first(x)))
        y = self.second(x)
        if self.case == "used beside":
            return self.norm2(y) + y
        if self.case == "in a list":
            return torch.cat([self.norm2(y), y])
        if self.case == "convolution twice":
            return self.norm2(y) + self.second(y)
        if self.case == "norm twice":
            return self.norm2(self.norm2(y))
        if self.case == "something between":
            return self.norm2(y.relu_())
        return self.norm2(y)


@pytest.mark.parametrize(
    ("case", "n_folded"),
    [
        ("plain", 2),
        ("used beside", 1),
        ("in a list", 1),
        ("convolution twice", 1),
        ("norm twice", 1),
        ("something between", 1),
    ],
)
def test_folds_what_can_be_folded_and_nothing_else(case: str, n_folded: int) -> None:
    net = random_norms(Net(case))
    x = torch.randn(2, 3, 9, 9)
    with torch.inference_mode():
        expected = net(x)
        with folded_batch_norm(net, lambda: net(x[:1])) as found:
            assert_close(net(x), expected, rtol=1e-5, atol=1e-5)
    assert found == n_folded


@pytest.mark.parametrize(
    "name", ["torchvision:resnet18", "timm:tf_efficientnet_lite0", "torchvision:googlenet", "torchvision:vgg11"]
)
def test_real_networks_give_the_same_scores(name: str) -> None:
    model = load_model(name, pretrained=False, device="cpu")
    random_norms(model.module) if "vgg" in name else None
    x = torch.randn(2, 3, 96, 96)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.module.modules())
    state = {k: v.clone() for k, v in model.module.state_dict().items()}
    with torch.inference_mode():
        expected = model.module(x)
        with folded_batch_norm(model.module, lambda: model.module(x[:1])) as found:
            got = model.module(x)
    spread = float(expected.max() - expected.min())
    assert_close(got, expected, rtol=0, atol=1e-5 * max(spread, 1e-3))
    assert found >= 0.9 * norms if "googlenet" not in name else found > 0
    assert all(torch.equal(v, model.module.state_dict()[k]) for k, v in state.items())


def test_a_weight_that_is_made_anew_in_each_run_keeps_its_batch_norm() -> None:
    made_anew = weight_norm(nn.Conv2d(3, 4, 3))
    net = random_norms(nn.Sequential(made_anew, nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = net(x)
        with folded_batch_norm(net, lambda: net(x)):
            found = [net(x) for _ in range(3)]
    for values in found:
        assert_close(values, expected, rtol=0, atol=1e-5)
