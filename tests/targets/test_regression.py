"""Targets of networks that return a value: up, down, towards a value; by hand, on a linear network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import convscope as cs
from convscope import Model, Towards
from convscope.targets import describe, directed, resolve

VALUES = torch.tensor([[1.0, 5.0], [4.0, -2.0]])


class Linear(nn.Module):
    """y = w * x + 1, as (N, 1), as (N,), or in a dict."""

    def __init__(self, wrap: Any = lambda y: y) -> None:
        super().__init__()
        self.fc, self.wrap = nn.Linear(16, 1), wrap
        nn.init.ones_(self.fc.bias)

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(self.fc(x.flatten(1)))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Towards(3.2), [-2.2, -0.8]),
        (Towards(-1, column=1), [-6.0, -1.0]),
        (Towards(4), [-3.0, 0.0]),
    ],
)
def test_towards_is_minus_the_distance(target: Towards, expected: list[float]) -> None:
    assert_close(resolve(target, VALUES, None).of(VALUES)[:, 0], torch.tensor(expected))


def test_up_and_down_are_the_value_and_its_opposite() -> None:
    for output in (VALUES[:, :1], VALUES[:, 0], {"y": VALUES[:, :1]}):
        assert resolve("up", output, None, n_batch=2).of(output, 2)[:, 0].tolist() == [1, 4]
        assert resolve("down", output, None, n_batch=2).of(output, 2)[:, 0].tolist() == [-1, -4]


def test_a_label_goes_before_a_direction() -> None:
    assert resolve("up", VALUES, ("down", "up")).indices.tolist() == [1, 1]
    assert directed("up", ("down", "up")) == "up"
    assert describe(directed("up", None)) == "up"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("up", "for networks with one value, and this one returns 2"),
        ("down", r"lambda y: -y\[:, 0\]"),
        (Towards(1, 2), "returns 2 values, counted from 0"),
    ],
)
def test_a_value_that_is_not_there_is_an_error(target: Any, says: str) -> None:
    with pytest.raises(cs.TargetError, match=says):
        resolve(target, VALUES, None)


@pytest.mark.parametrize("odd", [float("nan"), "3", None])
def test_a_value_is_a_number(odd: Any) -> None:
    with pytest.raises(cs.ParameterError, match="value"):
        Towards(odd)


@pytest.mark.parametrize("wrap", [lambda y: y, lambda y: y[:, 0], lambda y: {"y": y}])
@pytest.mark.parametrize(("target", "sign"), [("up", 1), ("down", -1), (Towards(100.0), 1), (Towards(-100.0), -1)])
def test_methods_explain_a_value(wrap: Any, target: Any, sign: int) -> None:
    torch.manual_seed(0)
    net, x = Linear(wrap), torch.randn(2, 1, 4, 4)
    weights = sign * net.fc.weight.reshape(4, 4)
    found = cs.saliency(net, x, target=target, kind="signed")
    assert_close(torch.from_numpy(found.values), weights.detach().expand(2, -1, -1))
    assert found.unit == "change in score per unit of input (unit of the output)"
    hidden = cs.occlusion(net, x, target=target, window=1, stride=1)
    assert_close(torch.from_numpy(hidden.values), (weights * x[:, 0]).detach(), rtol=1e-3, atol=1e-4)
    path = cs.integrated_gradients(net, x, target=target, n_steps=3)
    assert_close(torch.from_numpy(path.values), (weights * x[:, 0]).detach(), rtol=1e-4, atol=1e-5)
    assert hidden.targets == (target if isinstance(target, str) else f"towards {100 * sign}",) * 2


def test_evidence_is_measured_in_the_unit_of_the_output() -> None:
    torch.manual_seed(0)
    net, x = Linear(), torch.randn(1, 1, 4, 4)
    values = (net.fc.weight.reshape(4, 4) * x[0, 0]).detach()
    found = cs.evaluate(
        net,
        x,
        {"mine": values[None].numpy()},
        target="up",
        n_steps=16,
        measures=["deletion_mean", "insertion_mean"],
    )
    ordered = values.flatten().sort(descending=True).values
    inserted = 1 + torch.cat([torch.zeros(1), ordered.cumsum(0)])
    deleted = 1 + ordered.sum() - torch.cat([torch.zeros(1), ordered.cumsum(0)])
    areas = [float(torch.trapezoid(curve, dx=1 / 16)) for curve in (deleted, inserted)]
    assert_close(found.values[0, :, 0], np.array(areas, np.float32), rtol=1e-4, atol=1e-4)
    assert found.provenance.parameters["score"] == "logit"


def test_a_picture_of_more_and_several_targets_at_once() -> None:
    net = Linear()
    shown = cs.visualize(net, target="up", n_steps=5, start=torch.zeros(1, 1, 4, 4))
    assert shown.scores[-1] > shown.scores[0]
    found = cs.saliency(net, torch.zeros(1, 1, 4, 4), target=cs.Several(Towards(5), Towards(-5)), kind="signed")
    assert found.values.any()
    assert_close(found.values[0], -found.values[1])


def test_values_are_predicted_as_they_are() -> None:
    net, x = Linear(lambda y: y[:, 0]), torch.randn(2, 1, 4, 4)
    assert_close(torch.from_numpy(Model(net).predict(x).scores[:, 0]), net(x).detach())


def of_values(net: nn.Module, **options: Any) -> Model:
    return Model(net, regression=True, **options)


def two_values() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))


def test_one_value_is_asked_upward_and_has_no_probability() -> None:
    net, x = Linear(), torch.randn(2, 1, 4, 4)
    model = of_values(net, labels=["age"])
    prediction = model.predict(x)
    (first,), (second,) = prediction.top()
    assert (first.label, first.index, second.label) == ("age", 0, "age")
    assert [first.score, second.score] == pytest.approx(net(x)[:, 0].tolist(), rel=1e-5)
    assert np.isnan([first.probability, second.probability]).all()
    assert prediction.are_values
    with pytest.raises(cs.ParameterError, match="no probabilities"):
        prediction.probabilities  # noqa: B018
    found = cs.occlusion(model, x, window=1, stride=1)
    by_hand = net.fc.weight.detach().reshape(4, 4) * x[:, 0]
    assert_close(torch.from_numpy(found.values), by_hand, rtol=1e-3, atol=1e-4)
    assert (found.targets, found.unit) == (("up", "up"), "fall of the score when hidden (unit of the output)")
    assert not any("logit" in note for note in (*prediction.provenance.notes, *found.provenance.notes))


def test_several_values_keep_their_order_and_have_to_be_chosen() -> None:
    net, x = two_values(), torch.randn(3, 1, 4, 4)
    model = of_values(net)
    y = net(x).detach()
    for row, ranked in zip(y.tolist(), model.predict(x).top(), strict=True):
        assert [(one.label, one.score) for one in ranked] == [
            ("value 0", pytest.approx(row[0], rel=1e-5)),
            ("value 1", pytest.approx(row[1], rel=1e-5)),
        ]
    for call in (cs.saliency, cs.occlusion):
        with pytest.raises(cs.TargetError, match=r"returns 2 values, .*index or a label, .*Towards"):
            call(model, x)
    with pytest.raises(cs.TargetError, match="returns 2 values"):
        cs.sanity_check(model, x[:1])
    with pytest.raises(cs.TargetError, match="the network has values 0 to 1"):
        cs.saliency(model, x, target=2)
    found = cs.saliency(model, x, target=1, kind="signed")
    assert_close(torch.from_numpy(found.values), net[1].weight[1].detach().reshape(4, 4).expand(3, -1, -1))
    assert found.targets == ("value 1",) * 3
    assert found.unit == "change in score per unit of input (unit of the output)"
    named = cs.saliency(of_values(net, labels=["age", "height"]), x, target="height", kind="signed")
    assert named.targets == ("height",) * 3
    np.testing.assert_array_equal(named.values, found.values)


@pytest.mark.parametrize("target", [None, 0, "age"])
def test_a_value_has_no_probability_to_explain(target: Any) -> None:
    with pytest.raises(cs.ParameterError, match="no meaning for values"):
        cs.saliency(
            of_values(Linear(), labels=["age"]), torch.zeros(1, 1, 4, 4), target=target, score="probability"
        )


def test_a_value_between_0_and_1_is_one_too() -> None:
    net = Linear(lambda y: y.sigmoid())
    x = torch.randn(2, 1, 4, 4)
    assert Model(net).predict(x).normalization == "none"
    assert of_values(net).predict(x).are_values
    assert cs.saliency(of_values(net), x).unit.endswith("(unit of the output)")


def test_evidence_of_a_declared_value_is_in_its_unit() -> None:
    net, x = Linear(), torch.randn(1, 1, 4, 4)
    maps, options = {"mine": x[:, 0].numpy()}, {"n_steps": 4, "measures": ["deletion_mean", "insertion_mean"]}
    declared = cs.evaluate(of_values(net), x, maps, **options)
    np.testing.assert_array_equal(declared.values, cs.evaluate(net, x, maps, target="up", **options).values)
    assert declared.provenance.parameters["score"] == "logit"
    assert declared.targets == ("up",)


def test_values_and_labels_exclude_each_other() -> None:
    with pytest.raises(cs.ParameterError, match="labels or values"):
        Model(Linear(), multilabel=True, regression=True)
    with pytest.raises(cs.ParameterError, match="labels or values"):
        cs.load_model("torchvision:resnet18", multilabel=True, regression=True)


def test_a_single_score_that_may_be_a_value_is_said_to_be_read_as_a_logit() -> None:
    x = torch.randn(1, 1, 4, 4)

    def is_told(result: Any) -> bool:
        return any("if this is a value, say regression=True" in note for note in result.provenance.notes)

    assert is_told(Model(Linear()).predict(x))
    assert is_told(cs.saliency(Linear(), x))
    assert not is_told(cs.saliency(Linear(), x, target="up"))
    assert not is_told(Model(two_values()).predict(x))
    assert not is_told(Model(Linear(lambda y: y.sigmoid())).predict(x))


def test_a_store_keeps_no_predicted_class_of_values(tmp_path: Any) -> None:
    options: dict[str, Any] = {"input_size": (4, 4), "mean": [0.5], "std": [0.5]}
    pictures = list(np.random.default_rng(0).integers(0, 256, (2, 4, 4), np.uint8))
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 1))
    for model, expected in ((of_values(net, **options), None), (Model(net, **options), "0")):
        store = cs.embed(model, pictures, store=tmp_path / f"{expected}.lance")
        kept = store.to_arrow(["predicted", "probability"])
        assert kept["predicted"].to_pylist() == [expected] * 2
        assert [p is None for p in kept["probability"].to_pylist()] == [expected is None] * 2
