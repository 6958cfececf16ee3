"""LRP: two dense layers by hand; small VGGs and ResNets as Zennit finds them; what is handed on in full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
import zennit.attribution
import zennit.canonizers
import zennit.composites
import zennit.layer
import zennit.rules
import zennit.types
from tests.conftest import tiny_transformer
from torch import nn
from torch.nn import functional as F

from convscope import LayerError, ParameterError, Several, channel_relevance, lrp
from convscope.attribution.relevance_rules import Rule
from convscope.models import Model

RULES = get_args(Rule)


def with_statistics(net: nn.Module) -> nn.Module:
    """Batch norms as after training."""
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.3)
    return net.eval()


def vgg() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(12 * 16, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 5)),
    )


class Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1, self.relu1 = nn.BatchNorm2d(n_out), nn.ReLU()
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.short = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        self.sum, self.relu2 = zennit.layer.Sum(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        long = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        return self.relu2(self.sum(torch.stack([long, self.short(x)], -1)))


def resnet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(Block(8, 8, 1), Block(8, 12, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)),
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("make", [vgg, resnet])
def test_equals_zennit(make: Callable[[], nn.Module], rule: Rule) -> None:
    net, x, target = with_statistics(make()), torch.randn(3, 3, 16, 16), [4, 0, 2]
    found = torch.tensor(lrp(net, x, target=target, rule=rule).values)
    merged = [zennit.canonizers.SequentialMergeBatchNorm()]
    # Zennit adds 1e-6 to sums and means too, which have no such term here.
    between = zennit.composites.layer_map_base(stabilizer=1e-12)
    every = {
        "epsilon": zennit.rules.Epsilon(epsilon=1e-6),
        "gamma": zennit.rules.Gamma(gamma=0.25),
        "z_plus": zennit.rules.ZPlus(),
    }
    composite = (
        zennit.composites.EpsilonPlusFlat(canonizers=merged, layer_map=between)
        if rule == "composite"
        else zennit.composites.LayerMapComposite([*between, (zennit.types.Linear, every[rule])], merged)
    )
    with zennit.attribution.Gradient(net, composite) as explain:
        _, relevance = explain(x.clone(), lambda output: output * torch.eye(5)[target])
    expected = relevance.sum(1)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * float(other.abs().max()))


class Parallel(nn.Module):
    """The network of zennit-crp's own test: two layers side by side, and one behind them."""

    def __init__(self) -> None:
        super().__init__()
        weights = {"layer1": [[1, 2], [0, 1]], "layer2": [[2, 3], [0, 0]], "layer3": [[1, 4, 5, 0]]}
        for name, rows in weights.items():
            layer = nn.Linear(len(rows[0]), len(rows), bias=False)
            layer.weight = nn.Parameter(torch.tensor(rows, dtype=torch.float32))
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        return self.layer3(torch.cat([self.layer1(x), self.layer2(x)], dim=1))


def test_conditions_give_the_figures_of_zennit_crp() -> None:
    """1e-6 is added to each of the divisors, which are 1 or more."""
    net, x = Parallel(), torch.tensor([[[[-1.0, 1.0]]]])
    np.testing.assert_allclose(lrp(net, x, target=0).values[0, 0], [-11, 21], rtol=1e-5)
    found = lrp(net, x, target=0, conditions={"layer1": [0]})
    np.testing.assert_allclose(found.values[0, 0], [-1, 2], rtol=1e-5)
    assert found.provenance.measured["share_of_score"] == pytest.approx([1 / 10], rel=1e-5)
    assert found.provenance.measured["completeness_error"][0] < 1e-5
    np.testing.assert_allclose(
        [channel_relevance(net, x, target=0, layer=name).values[0] for name in ("layer1", "layer2")],
        [[1, 4], [5, 0]],
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("make", "conditions"),
    [
        (vgg, {"4": [1, 5]}),
        (vgg, {"9": [0, 2, 3]}),
        (vgg, {"9": [0, 2, 3], "1": [2, 4, 7]}),
        (vgg, {"13": [1, 2, 3, 4, 5]}),
        (resnet, {"4": [1, 5]}),
        (resnet, {"4": [2, 6], "5": [1, 3, 5]}),
    ],
)
def test_conditions_equal_zennit_with_its_relevance_cut(
    make: Callable[[], nn.Module], conditions: dict[str, list[int]]
) -> None:
    net, x = with_statistics(make()), torch.randn(2, 3, 16, 16)
    found = lrp(net, x, target=2, conditions=conditions)
    merged = [zennit.canonizers.SequentialMergeBatchNorm()]
    between = zennit.composites.layer_map_base(stabilizer=1e-12)
    composite = zennit.composites.EpsilonPlusFlat(canonizers=merged, layer_map=between)
    outputs: dict[str, torch.Tensor] = {}
    leaf = x.clone().requires_grad_()
    with composite.context(net) as ruled:
        for name in conditions:
            ruled.get_submodule(name).register_forward_hook(
                lambda _, __, output, name=name: outputs.__setitem__(name, output)
            )
        output = ruled(leaf)
        at, relevance = output, output.detach() * torch.eye(5)[2]
        for name in sorted(conditions, key=int, reverse=True):
            (relevance,) = torch.autograd.grad(at, outputs[name], relevance, retain_graph=True)
            shares = relevance.flatten(1).sum(1)
            kept = torch.zeros(relevance.shape[1])
            kept[conditions[name]] = 1
            at, relevance = outputs[name], relevance * kept.reshape(-1, *[1] * (relevance.ndim - 2))
        shares = relevance.flatten(1).sum(1) / output[:, 2].detach()
        (expected,) = torch.autograd.grad(at, leaf, relevance)
    expected = expected.sum(1)
    assert expected.abs().amax((1, 2)).min() > 0
    for one, other in zip(torch.tensor(found.values), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-4 * float(other.abs().max()))
    scale = float(shares.abs().max())
    assert found.provenance.measured["share_of_score"] == pytest.approx(shares.tolist(), abs=2e-4 * scale)


def test_all_channels_hand_on_everything(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    found = lrp(tiny, x, target=Several(0, 2), conditions={"4": range(6)})
    plain = lrp(tiny, x, target=Several(0, 2))
    np.testing.assert_allclose(found.values, plain.values, rtol=0, atol=1e-6 * np.abs(plain.values).max())
    parts = [lrp(tiny, x, target=1, conditions={"4": [channel]}).values for channel in range(6)]
    whole = lrp(tiny, x, target=1).values
    np.testing.assert_allclose(sum(parts), whole, rtol=0, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize(("make", "layer"), [(tiny_transformer, "blocks.0"), (vgg, "13"), (vgg, "9")])
def test_a_channel_is_as_relevant_as_what_it_alone_hands_on(make: Callable[[], nn.Module], layer: str) -> None:
    """Of tokens, too, among them the class token, which has no place."""
    net, x = make(), torch.randn(2, 3, 16, 16)
    found = channel_relevance(net, x, target=1, layer=layer)
    shares = lrp(net, x, target=1, conditions={layer: [3]}).provenance.measured["share_of_score"]
    np.testing.assert_allclose(found.values[:, 3], np.asarray(shares) * found.scores, rtol=1e-4)
    assert [name for name, _ in found.top(3, 2)] == [f"image {i}" for i in np.argsort(-found.values[:, 3])]


@pytest.mark.parametrize(
    ("conditions", "error", "says"),
    [
        ({"x": [0]}, LayerError, "no layer 'x'"),
        ({"4": [6]}, ParameterError, "channel 6 of layer '4', which has 0 to 5"),
        ({"4": []}, ParameterError, "no channel of layer '4'"),
        ({"4": [-1]}, ParameterError, "conditions="),
        ({"4": 3}, ParameterError, "conditions="),
        ({"7:input": [0]}, LayerError, "is the input of a module"),
    ],
)
def test_conditions_that_cannot_be_met_are_refused(
    tiny: Model, conditions: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        lrp(tiny, torch.randn(1, 3, 16, 16), conditions=conditions)


def test_layers_side_by_side_and_norms_that_are_merged_are_refused() -> None:
    with pytest.raises(LayerError, match="no relevance arrives at layer 'layer1'"):
        lrp(Parallel(), torch.ones(1, 1, 1, 2), target=0, conditions={"layer1": [0], "layer2": [0]})
    with pytest.raises(LayerError, match="name the norm, '1'"):
        channel_relevance(vgg(), torch.randn(1, 3, 16, 16), target=0, layer="0")


@pytest.mark.parametrize("rule", ["epsilon", "gamma", "z_plus"])
def test_equals_two_dense_layers_by_hand(rule: Rule) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3))
    x = torch.randn(1, 3, 2, 2)
    hidden = net[:3](x)[0]
    relevance = np.where(np.arange(3) == 1, net(x)[0].detach().numpy(), 0)
    for layer, given in ((net[3], hidden), (net[1], x.flatten())):
        relevance = by_hand(rule, layer, given.detach().numpy(), relevance)
    found = lrp(net, x, target=1, rule=rule).values[0]
    np.testing.assert_allclose(found, relevance.reshape(3, 2, 2).sum(0), rtol=0, atol=1e-6)


def by_hand(rule: Rule, layer: nn.Linear, x: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """One dense layer, unit by unit, as the papers write it; the last part of each sum is that of the bias."""
    out = np.zeros_like(x)
    for k, row in enumerate(layer.weight.detach().numpy()):
        parts = np.append(x * row, layer.bias[k].item())
        same = np.maximum(parts, 0) if parts.sum() > 0 else np.minimum(parts, 0)
        counted = {"epsilon": parts, "z_plus": np.maximum(parts, 0), "gamma": parts + 0.25 * same}[rule]
        out += counted[:-1] / (counted.sum() + np.copysign(1e-6, counted.sum())) * relevance[k]
    return out


def test_a_linear_score_is_shared_by_its_terms_and_its_bias() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
    x = torch.randn(1, 2, 2, 2)
    found = lrp(net, x, target=1)
    terms = (net[1].weight[1].reshape(2, 2, 2) * x[0]).sum(0).detach().numpy()
    np.testing.assert_allclose(found.values[0], terms, rtol=0, atol=1e-5)
    taken = (net[1].bias[1] / net(x)[0, 1]).abs().item()
    assert found.provenance.measured["completeness_error"] == pytest.approx([taken], rel=0.05)


@pytest.mark.parametrize("rule", RULES)
def test_without_biases_the_whole_score_arrives(rule: Rule) -> None:
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, bias=False), nn.ReLU6(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, bias=False), nn.SiLU()),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, 3, bias=False)),
    )
    found = lrp(net, torch.randn(3, 3, 14, 14), target=[0, 1, 2], rule=rule)
    np.testing.assert_allclose(found.values.sum((1, 2)), found.scores, rtol=2e-3)
    assert max(found.provenance.measured["completeness_error"]) < 2e-3


def test_the_first_convolution_spreads_evenly_over_its_window() -> None:
    """One 3 x 3 window at each place; what a pixel gets is a ninth of each window that it is in."""
    net = nn.Sequential(nn.Conv2d(2, 1, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4, 1, bias=False))
    x = torch.randn(1, 2, 4, 4)
    parts = (net[:3](x) * net[3].weight)[0].reshape(2, 2).detach()
    expected = np.zeros((4, 4))
    for i in range(2):
        for j in range(2):
            expected[i : i + 3, j : j + 3] += parts[i, j].item() / 9
    np.testing.assert_allclose(lrp(net, x, target=0).values[0], expected, rtol=0, atol=1e-5)


def test_what_comes_before_the_first_layer_takes_nothing() -> None:
    scale = torch.tensor([2.0, 1.0, -3.0])[:, None, None]

    class Prepared(nn.Module):
        def __init__(self, net: nn.Sequential) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = F.pad((x - 0.3) * scale, (1, 1, 1, 1))
            return self.net[1:](F.conv2d(x, self.net[0].weight, self.net[0].bias))

    net, x = with_statistics(vgg()), torch.randn(2, 3, 16, 16)
    expected = lrp(net, (x - 0.3) * scale, target=1).values
    assert expected.any()
    np.testing.assert_allclose(lrp(Prepared(net), x, target=1).values, expected, rtol=1e-4, atol=1e-8)


def test_resizing_before_the_first_layer_hands_on_everything() -> None:
    net = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), *vgg()[:-5], nn.Flatten(), nn.Linear(768, 5))
    x = torch.randn(1, 3, 16, 16)
    resized = lrp(net[1:], net[0](x), target=1).values.sum()
    assert lrp(net, x, target=1).values.sum() == pytest.approx(resized, rel=1e-4)


class Gated(nn.Module):
    """Convolution, ReLU, and a gate on the map of each channel, as in squeeze and excitation."""

    def __init__(self, multiply: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.gate, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 4), nn.Linear(4, 2)
        self.multiply = multiply

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x).relu()
        return self.last(self.multiply(y, torch.sigmoid(self.gate(y.mean((2, 3))))).mean((2, 3)))


@pytest.mark.parametrize(
    "multiply",
    [
        lambda y, gate: y * gate[:, :, None, None],
        lambda y, gate: gate.view(-1, 4, 1, 1).expand_as(y) * y,
        lambda y, gate: y.mul_(gate[:, :, None, None]),
        lambda y, gate: gate[:, :, None, None].expand_as(y).clone().mul_(y),
        lambda y, gate: torch.mul(y, 0.5 * gate[:, :, None, None]) * 2,
    ],
)
def test_a_gate_counts_as_a_constant(multiply: Callable[..., torch.Tensor]) -> None:
    net, x = Gated(multiply), torch.randn(1, 3, 8, 8)
    found = lrp(net, x, target=1).values
    constant = torch.sigmoid(net.gate(net.conv(x).relu().mean((2, 3)))).detach()
    net.multiply = lambda y, gate: y * constant[:, :, None, None]
    np.testing.assert_allclose(found, lrp(net, x, target=1).values, rtol=0, atol=1e-7)


def test_each_factor_of_another_product_gets_half() -> None:
    class Product(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x[:, :1] * x[:, 1:]).sum((2, 3))

    x = torch.randn(1, 2, 3, 3)
    products = (x[0, 0] * x[0, 1]).numpy()
    np.testing.assert_allclose(lrp(Product(), x, target=0).values[0], products, rtol=0, atol=1e-6)


def left_in_place(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """What a network sees that goes on with the tensor it gave, rather than with what it got."""

    def run(x: torch.Tensor) -> torch.Tensor:
        change(x)
        return x

    return run


ACTIVATIONS: dict[str, tuple[Callable[..., torch.Tensor], Callable[..., torch.Tensor]]] = {
    "relu": (nn.ReLU(inplace=True), lambda x: x.clamp(min=0)),
    "relu6": (nn.ReLU6(inplace=True), lambda x: F.hardtanh(x, 0, 6)),
    "silu": (nn.SiLU(inplace=True), lambda x: x * x.sigmoid()),
    "relu left in place": (F.relu, left_in_place(torch.relu_)),
    "silu left in place": (F.silu, left_in_place(lambda x: x.mul_(x.sigmoid()))),
    "hardswish": (nn.Hardswish(), lambda x: x * F.hardsigmoid(x)),
    "leaky": (nn.LeakyReLU(0.1, inplace=True), lambda x: F.leaky_relu(x, 0.1)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("rule", ["composite", "epsilon"])
def test_activations_are_the_same_however_they_are_written(name: str, rule: Rule) -> None:
    """And a module may be used twice."""

    class Net(nn.Module):
        def __init__(self, activation: Callable[..., torch.Tensor]) -> None:
            super().__init__()
            self.activation = activation
            self.first, self.second, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.activation(self.second(self.activation(self.first(x)))).mean((2, 3)))

    one, other = (Net(activation) for activation in ACTIVATIONS[name])
    other.load_state_dict(one.state_dict(), strict=False)
    x = 3 * torch.randn(2, 3, 10, 10)
    expected = lrp(one, x, target=1, rule=rule).values
    assert expected.any()
    np.testing.assert_allclose(lrp(other, x, target=1, rule=rule).values, expected, rtol=0, atol=1e-5)


def test_a_layer_norm_hands_everything_on() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 6, 3, bias=False), nn.LayerNorm(6)
            self.last = nn.Linear(6, 2, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(F.gelu(self.norm(self.conv(x).permute(0, 2, 3, 1))).mean((1, 2)))

    found = lrp(Net(), torch.randn(1, 3, 8, 8), target=0)
    assert max(found.provenance.measured["completeness_error"]) < 1e-3
    assert found.provenance.notes == ()


def test_a_function_without_a_rule_is_noted() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 2))
    notes = lrp(net, torch.randn(2, 3, 4, 4), target=0).provenance.notes
    assert notes == ("group_norm has no rule of its own: its plain gradient was taken",)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda x: x**2, ("pow",)),
        (lambda x: x.exp(), ("exp",)),
        (lambda x: F.normalize(x), ("normalize",)),
        (lambda x: torch.log_softmax(x, 1), ("log_softmax",)),
        (lambda x: x.flatten(2) @ x.flatten(2).mT, ()),
        (lambda x: x.flatten(1).softmax(1), ()),
        (lambda x: torch.einsum("nchw,ncij,nckl->nchk", x, x + 1, x * 2), ("einsum",)),
        (lambda x: x / (1 + x.mean(1, keepdim=True)), ("div",)),
        (lambda x: x / 3 + x.flatten(2).mT @ torch.ones(3, 1) / 2, ()),
    ],
)
def test_functions_that_are_no_layers_are_noted_where_they_are_not_linear(
    function: Any, names: tuple[str, ...]
) -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x[:, :, :, :1]).flatten(1)

    notes = lrp(Net(), torch.rand(1, 3, 4, 4) + 1, target=0).provenance.notes
    assert [note.partition(" has no rule")[0] for note in notes if " has no rule" in note] == list(names)


def test_several_targets_at_once_give_what_they_give_alone(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    found: Any = lrp(tiny, x, target=Several(0, 2))
    for place, target in enumerate((0, 2)):
        alone = lrp(tiny, x, target=target)
        np.testing.assert_allclose(found.values[place::2], alone.values, rtol=0, atol=1e-7)
        assert found.provenance.measured["completeness_error"][place::2] == pytest.approx(
            alone.provenance.measured["completeness_error"], rel=0.02
        )


def test_a_real_network_hands_positive_relevance_to_its_pixels(lite0: Model, cat: np.ndarray) -> None:
    found = lrp(lite0, cat)
    assert found.values.min() >= 0
    left, right = found.values[0, :, :112].sum(), found.values[0, :, 112:].sum()
    assert left > right  # the nearer eye


@pytest.mark.parametrize("options", [{"rule": "flat"}, {"rule": None}, {"score": "x"}])
def test_errors_say_what_is_wrong(tiny: Model, options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=f"{next(iter(options))}="):
        lrp(tiny, torch.randn(1, 3, 16, 16), **options)
