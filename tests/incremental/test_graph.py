"""Networks taken apart: in-place operations, batch norm, dropout, what cannot be taken apart."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torchvision.models import googlenet

from convscope.incremental import GraphError, Plan, plan_of
from convscope.incremental.graph import graph_of
from convscope.incremental.rewriting import aten
from tests.incremental.networks import Call, Shuffle, SqueezeExcite, lively
from tests.incremental.test_run import assert_same

SIZE = (12, 14)
IMAGE = torch.zeros(3, *SIZE)


def targets(module: nn.Module) -> list[object]:
    return [node.target for node in graph_of(module.eval(), IMAGE).nodes[1:-1]]


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2)]


def test_convolution_batch_norm_and_activation_become_one() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU(inplace=True))
    lively(net, (3, *SIZE))
    graph = graph_of(net, IMAGE)
    (convolution,) = graph.nodes[1:-1]
    assert convolution.target is aten.conv2d.default
    assert convolution.meta["then"][0] is aten.relu.default


def test_a_batch_norm_that_others_see_past_stays() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return (y + self.norm(y)).mean([2, 3])

    assert_same(lively(Net(), (3, *SIZE)), SIZE, 0)


class InPlace(nn.Module):
    """The result of an in-place operation is read under the old name, or through a view."""

    def __init__(self, change: str) -> None:
        super().__init__()
        self.conv, self.change = nn.Conv2d(3, 4, 3, padding=1), change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        if self.change == "relu":
            torch.relu_(y)
        elif self.change == "first":
            x.mul_(2)
            y = y + self.conv(x)
        elif self.change == "view":
            y[:, :2].relu_()
        elif self.change == "seen by a view":
            half = y[:, :2]
            y.mul_(3)
            return (half * half).mean([2, 3])
        else:
            y += y * 0.5
        return y.mean([2, 3])


@pytest.mark.parametrize("change", ["relu", "first", "view", "seen by a view", "itself"])
def test_in_place_operations(change: str) -> None:
    torch.manual_seed(0)
    assert_same(InPlace(change).eval(), SIZE, 0)


def test_weights_made_of_parameters_are_made_once() -> None:
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), *head(4)).eval()
    assert targets(net)[0] is aten.conv2d.default
    assert_same(net, SIZE, 0)


def test_convolutions_whose_weights_depend_on_the_image_have_no_rule() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.conv2d(x, x.mean([0, 2, 3]).reshape(1, 3, 1, 1)).mean([2, 3])

    plan = Plan(Net(), IMAGE)
    assert aten.conv2d.default in [node.target for node in plan.reasons]
    assert plan.kernels == {}


def test_what_torchvision_does_to_the_image_of_its_published_weights_has_rules() -> None:
    net = googlenet(weights=None, init_weights=False, aux_logits=False, transform_input=True).eval()
    plan = Plan(net, torch.zeros(3, 64, 64))
    assert [node.target for node in plan.reasons] == [aten.flatten.using_ints, aten.linear.default]


class Autocasting(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return x.float().mean([2, 3])


def test_whatever_export_does_not_know_is_a_graph_error_and_remembered() -> None:
    net = Autocasting()
    for _ in range(2):
        with pytest.raises(GraphError, match=r"\w{3}"):
            plan_of(net, IMAGE)


def test_the_batch_is_not_baked_in() -> None:
    assert_same(nn.Sequential(nn.Conv2d(3, 4, 3), Shuffle(2), *head(4)).eval(), SIZE, 0, at_once=7)


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean([2, 3]) if float(x.sum()) > 0 else x.amax([2, 3])


class Several(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean([2, 3]), x


class Constant(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(x), 2)


@pytest.mark.parametrize("net", [Branching(), Constant()])
def test_what_cannot_be_taken_apart_says_why(net: nn.Module) -> None:
    with pytest.raises(GraphError, match=r"\w{3}"):
        graph_of(net, IMAGE)


def test_several_results_are_put_together_as_the_network_does() -> None:
    graph = graph_of(Several(), IMAGE)
    assert graph.results[1] is graph.input
    assert graph.packed([1, 2]) == (1, 2)


def test_explain_names_the_operation_the_reason_and_the_share() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), *head(4)).eval()
    assert "flatten" in Plan(plain, IMAGE).explain()  # a vector is no map
    squeezed = nn.Sequential(nn.Conv2d(3, 4, 3), SqueezeExcite(4), nn.Conv2d(4, 4, 3), *head(4)).eval()
    text = Plan(squeezed, IMAGE).explain()
    assert "different sizes" in text
    assert "mul" in text
    odd = nn.Sequential(nn.Conv2d(3, 4, 3), Call(lambda x: x.cumsum(2)), nn.Conv2d(4, 4, 3), *head(4)).eval()
    text = Plan(odd, IMAGE).explain()
    assert "cumsum" in text
    assert "no rule" in text
    assert "of the multiplications" in text


def test_a_plan_is_remembered_until_the_weights_change_and_goes_with_the_network() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), *head(4)).eval()
    plan = plan_of(net, IMAGE)
    assert plan_of(net, IMAGE) is plan
    with torch.no_grad():
        net[0].weight.add_(1)
    assert plan_of(net, IMAGE) is not plan
    assert plan_of(net, torch.zeros(3, 20, 20)) is not plan
    gone = weakref.ref(net)
    del net, plan
    gc.collect()
    assert gone() is None
