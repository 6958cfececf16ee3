"""Networks that take several inputs, or return more than class scores, against autograd by hand and Captum."""

from __future__ import annotations

import copy
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import convscope as cs
from convscope import Model, ModelError, ParameterError
from convscope.attribution.noisy_gradients import noisy_copies
from convscope.models.adapted import Adapted

Pair = namedtuple("Pair", "features logits")


@dataclass
class Output:
    logits: torch.Tensor
    states: tuple[torch.Tensor, ...]


class Two(nn.Module):
    """An image and a vector, whose product makes the scores, so that neither explains them alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(9, 3)

    def forward(self, image: torch.Tensor, meta: torch.Tensor) -> torch.Tensor:
        maps = torch.tanh(self.norm(self.conv(image))).mean(dim=(2, 3))
        return self.fc(torch.cat([maps * meta[:, :1], torch.tanh(meta)], dim=1))


class Tokens(nn.Module):
    """An image and a question of word numbers, for which there is no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.words = nn.Conv2d(1, 4, 3), nn.Embedding(7, 4)

    def forward(self, image: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        return self.conv(image).mean(dim=(2, 3)) * self.words(words).sum(dim=1)


class Siamese(nn.Module):
    """Two images through one tower."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (self.tower(a) * self.tower(b)).sum(dim=1)


@pytest.fixture
def two() -> tuple[Two, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return Two().double().eval(), torch.randn(3, 3, 8, 6).double(), torch.randn(3, 5).double()


def gradients(net: nn.Module, *inputs: torch.Tensor, target: int) -> tuple[torch.Tensor, ...]:
    leaves = [value.clone().requires_grad_() for value in inputs]
    return torch.autograd.grad(net(*leaves)[:, target].sum(), leaves)


def leaf(x: torch.Tensor) -> torch.Tensor:
    """As Captum wants it."""
    return x.clone().requires_grad_()


def assert_same(found: Any, expected: torch.Tensor, **options: float) -> None:
    """Equal up to the rounding of a result to float32."""
    expected = expected.detach().float()
    scale = float(expected.abs().max())
    assert_close(torch.as_tensor(found), expected, rtol=0, atol=options.get("share", 1e-5) * scale)


def test_a_call_explains_all_of_its_inputs_together(two: Any) -> None:
    net, x, m = two
    model = Model(net, inputs={"image": x[:1], "meta": m[:1]})
    found = cs.saliency(model, {"image": x, "meta": m}, target=1)
    of_x, of_m = gradients(net, x, m, target=1)
    assert_same(found.inputs["image"], of_x.abs())
    assert_same(found.inputs["meta"], of_m.abs())
    assert_same(found.values, of_x.abs().amax(dim=1))
    assert_same(found.scores, net(x, m)[:, 1])
    assert found.names == ("image 0", "image 1", "image 2")
    assert "explained together: image, meta; held as given: none" in found.provenance.notes
    product = cs.saliency(model, (x, m), target=[0, 1, 2], kind="input_x_gradient")
    of_x, of_m = gradients(net, x, m, target=2)
    assert_same(product.inputs["image"][2], (x * of_x)[2])
    assert_same(product.values[2], (x * of_x)[2].sum(dim=0))
    assert_same(product.inputs["meta"][2], (m * of_m)[2])
    assert product.targets == ("class 0", "class 1", "class 2")
    assert np.array_equal(found.given["meta"], m.float())
    assert np.array_equal(found.given["image"], found.images)
    both = cs.saliency(model, {"image": x, "meta": m}, target=cs.Several(0, 2))
    assert np.array_equal(both.given["meta"], m.float().repeat_interleave(2, dim=0))
    assert np.array_equal(both.of_input("meta").values[1], both.inputs["meta"][1])


def test_integrated_gradients_go_along_one_path_as_in_captum(two: Any) -> None:
    net, x, m = two
    model, start = Model(net, inputs=(x[:1], m[:1])), (torch.full_like(x, 0.3), torch.full_like(m, 0.3))
    found = cs.integrated_gradients(model, {"image": x, "meta": m}, target=2, baseline=0.3, n_steps=40)
    peer = captum.attr.IntegratedGradients(net)
    of_x, of_m = peer.attribute((x, m), start, target=2, n_steps=40, method="riemann_middle")
    assert_same(found.inputs["image"], of_x)
    assert_same(found.inputs["meta"], of_m)
    assert_same(found.values, of_x.sum(dim=1))
    total = found.inputs["image"].sum(axis=(1, 2, 3)) + found.inputs["meta"].sum(axis=1)
    change = (net(x, m) - net(*start))[:, 2]
    assert_same(total, change, share=1e-2)
    assert max(found.provenance.measured["completeness_error"]) < 1e-2
    assert not np.allclose(found.inputs["meta"].sum(axis=1), change.detach(), rtol=0.1)  # it takes both


def test_each_input_may_have_its_own_baseline(two: Any) -> None:
    net, x, m = two
    model, other = Model(net, inputs={"image": x[:1], "meta": m[:1]}), torch.arange(5.0).double()
    call = {"image": x[:1], "meta": m[:1]}
    found = cs.integrated_gradients(model, call, target=0, baseline={"image": 0.5, "meta": other}, n_steps=20)
    peer = captum.attr.IntegratedGradients(net)
    start = (torch.full_like(x[:1], 0.5), other[None])
    of_x, of_m = peer.attribute((x[:1], m[:1]), start, target=0, n_steps=20, method="riemann_middle")
    assert_same(found.inputs["image"], of_x)
    assert_same(found.inputs["meta"], of_m)
    for odd in ("blur", {"image": 0.5}, {"image": 0.5, "meta": torch.zeros(4)}):
        with pytest.raises(ParameterError, match="baseline"):
            cs.integrated_gradients(model, call, baseline=odd)


def test_noise_is_a_share_of_the_range_of_each_input(two: Any) -> None:
    net, x, m = two
    x, m = x[:1], 5 * m[:1]
    model, n_values = Model(net, inputs={"image": x, "meta": m}), x.numel() + m.numel()
    found = cs.smoothgrad(model, {"image": x, "meta": m}, target=0, n_samples=6, noise=0.2, kind="signed", seed=3)
    flat = torch.zeros(1, 1, n_values, dtype=torch.float64)
    normal = noisy_copies(flat, 1.0, 3, torch.ones(()))(0, 6).reshape(6, n_values)
    shares = [0.2 * (value.max() - value.min()) for value in (x, m)]
    noisy_x = x + shares[0] * normal[:, : x.numel()].reshape(6, *x.shape[1:])
    noisy_m = m + shares[1] * normal[:, x.numel() :]
    of_x, of_m = gradients(net, noisy_x, noisy_m, target=0)
    assert_same(found.inputs["image"][0], of_x.mean(dim=0))
    assert_same(found.inputs["meta"][0], of_m.mean(dim=0))
    varied = cs.vargrad(model, {"image": x, "meta": m}, target=0, n_samples=6, noise=0.2, seed=3)
    assert_same(varied.inputs["meta"][0], of_m.var(dim=0, correction=0))


def test_a_tensor_is_the_image_and_the_others_are_held(two: Any) -> None:
    net, x, m = two
    model = Model(net, inputs={"image": x[:1], "meta": m[1:2]})
    held = m[1:2].expand(3, -1)
    assert_same(model.predict(x).scores, net(x, held))
    found = cs.saliency(model, x, target=1, kind="signed")
    assert_same(found.values, gradients(net, x, held, target=1)[0].sum(dim=1))
    assert not found.inputs
    assert "explained: image; held as given: meta" in found.provenance.notes


@pytest.mark.parametrize("engine", ["dense", "incremental"])
def test_occlusion_hides_the_image_alone(two: Any, engine: Any) -> None:
    net, x, m = two
    model = Model(net, inputs={"image": x[:1], "meta": m[:1]})
    options = {"target": 1, "window": (2, 2), "stride": (2, 2), "baseline": 0.1, "engine": engine}
    found = cs.occlusion(model, {"image": x, "meta": m}, **options)
    peer = captum.attr.Occlusion(lambda image, meta: net(image, meta))
    expected = peer.attribute(x, (3, 2, 2), (3, 2, 2), baselines=0.1, target=1, additional_forward_args=(m,))
    assert_same(found.values, expected[:, 0])
    assert found.provenance.measured["engine"] == engine
    with pytest.raises(ParameterError, match="this function looks at images, and none is one"):
        cs.occlusion(model, {"meta": m})


def test_inputs_may_be_held_at_one_row_for_each_image(two: Any) -> None:
    net, x, m = two
    model = Model(net, inputs={"image": x[:1], "meta": m})
    assert_same(model.predict(x).scores, net(x, m))
    assert_same(cs.saliency(model, x, target=0).values, gradients(net, x, m, target=0)[0].abs().amax(dim=1))
    done: list[tuple[int, int]] = []
    cs.grad_cam(model, x, progress=lambda *at: done.append(at))
    assert done[-1] == (3, 3)
    with pytest.raises(ParameterError, match="2 images for inputs held at 3 rows"):
        cs.saliency(model, x[:2])
    with pytest.raises((ParameterError, ModelError), match="held at 3 rows"):
        cs.evaluate(model, x, {"flat": np.ones((3, 8, 6))})
    assert_same(cs.feature_maps(model, x, layer="conv")["conv"], net.conv(x))
    with pytest.raises(cs.TargetError, match="2 targets for 3 images"):
        cs.saliency(model, x, target=[0, 1])


def test_what_looks_at_one_image_takes_one_row_of_all_inputs(two: Any, tmp_path: Path) -> None:
    net, x, m = two
    model, call = Model(net, inputs={"image": x[:1], "meta": m[:1]}), {"image": x[1:2], "meta": m[1:2]}
    held = Model(net, inputs={"image": x[:1], "meta": m[1:2]})
    found = cs.saliency(model, call)
    back = cs.Attribution.load(found.save(tmp_path / "map"))
    assert list(back.inputs) == ["image", "meta"]
    assert np.array_equal(back.inputs["meta"], found.inputs["meta"])
    options = {"n_steps": 4, "measures": ["deletion_mean", "insertion_mean"]}
    measured = [cs.evaluate(*of, found, **options).values for of in ((model, call), (held, x[1:2]))]
    assert_close(*measured)
    assert_close(cs.feature_maps(model, call)["norm"], cs.feature_maps(held, x[1:2])["norm"])
    assert_close(cs.embed(model, call).vectors, cs.embed(held, x[1:2]).vectors)
    check = cs.sanity_check(model, call, "saliency", n_stages=2)
    assert_close(check.maps, cs.sanity_check(held, x[1:2], "saliency", n_stages=2).maps)
    assert cs.compare(model, call, ["saliency", "grad_cam"], n_steps=4).methods[:2] == ("saliency", "grad_cam")
    with pytest.raises(ParameterError, match="takes one row of several inputs at a time"):
        cs.sanity_check(model, {"image": x, "meta": m})


def test_what_is_held_is_kept_as_it_was_given(two: Any) -> None:
    net, images, meta = two
    given = meta[:1].clone()
    model = Model(net, inputs={"image": images[:1], "meta": given})
    given.zero_()
    expected, _ = gradients(net, images, meta[:1].expand(3, 5), target=1)
    for call in (images, {"image": images}):
        assert_same(cs.saliency(model, call, target=1, kind="signed").values, expected.sum(dim=1))


def test_no_input_is_rounded_to_the_numbers_of_another(two: Any) -> None:
    net, images, meta = two
    half = meta.half()
    model = Model(net, inputs={"meta": half[:1], "image": images[:1]})
    found = cs.saliency(model, {"meta": half, "image": images}, target=1, kind="input_x_gradient")
    expected, _ = gradients(net, images, half.double(), target=1)
    assert_same(found.values, (expected * images).sum(dim=1))


def test_an_input_that_does_not_fit_is_named_with_its_shape(two: Any) -> None:
    net, images, meta = two
    model = Model(net, inputs={"image": images[:1], "meta": meta[:1]})
    with pytest.raises(ModelError, match=r"run on inputs image \(1, 3, 8, 6\), meta \(1, 4\): "):
        cs.saliency(model, {"image": images, "meta": meta[:, :4]})
    with pytest.raises(ModelError, match=r"run on inputs image \(1, 2, 8, 6\), meta \(1, 5\): "):
        cs.saliency(model, images[:, :2])


def test_the_size_of_what_is_explained_is_that_of_the_inputs(two: Any) -> None:
    net, images, meta = two
    model = Model(net, inputs={"image": images[:1], "meta": meta[:1]})
    assert model.input_shape() == (3, 8, 6)
    assert [layer.name for layer in model.layers()] == ["conv", "norm", "fc"]
    assert Model(nn.Linear(5, 2), inputs=(meta[:1].float(),)).input_shape() == (1, 1, 5)


def test_a_vector_can_be_explained_alone(two: Any) -> None:
    net, x, m = two
    found = cs.saliency(Model(net, inputs={"image": x[:1], "meta": m[:1]}), {"meta": m}, target=0, kind="signed")
    of_m = gradients(net, x[:1].expand(3, -1, -1, -1), m, target=0)[1]
    assert_same(found.inputs["meta"], of_m)
    assert_same(found.values[:, 0], of_m)


def test_numbers_of_words_are_held() -> None:
    net, x, words = Tokens(), torch.randn(2, 1, 8, 8), torch.tensor([[1, 2, 3], [4, 5, 6]])
    found = cs.saliency(Model(net, inputs={"image": x, "words": words}), (x, words), target=0)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(leaf, words)[:, 0].sum(), leaf)
    assert_same(found.values, expected.abs()[:, 0])
    assert "explained: image; held as given: words" in found.provenance.notes


@pytest.fixture
def towers() -> tuple[Model, nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    net, a, b = Siamese().double(), torch.randn(2, 1, 8, 8).double(), torch.randn(2, 1, 8, 8).double()
    return Model(net, inputs={"a": a, "b": b}), net, a, b


def test_two_towers_are_explained_together_as_in_captum(towers: Any) -> None:
    model, net, a, b = towers
    call = {"a": a, "b": b}
    assert_same(model.predict(call).scores[:, 0], net(a, b))
    of_a, of_b = captum.attr.Saliency(net).attribute((leaf(a), leaf(b)), abs=False)
    found = cs.saliency(model, call, kind="signed")
    assert_same(found.inputs["a"], of_a)
    assert_same(found.inputs["b"], of_b)
    start = (torch.full_like(a, 0.5), torch.zeros_like(b))
    of_a, of_b = captum.attr.IntegratedGradients(net).attribute((a, b), start, n_steps=9, method="riemann_middle")
    found = cs.integrated_gradients(model, call, baseline={"a": 0.5, "b": 0.0}, n_steps=9)
    assert_same(found.inputs["a"], of_a)
    assert_same(found.inputs["b"], of_b)
    quiet = captum.attr.NoiseTunnel(captum.attr.Saliency(net))
    of_a, of_b = quiet.attribute((leaf(a), leaf(b)), nt_samples=2, stdevs=0.0, abs=False)
    found = cs.smoothgrad(model, call, noise=0.0, n_samples=2, kind="signed")
    assert_same(found.inputs["a"], of_a)
    assert_same(found.inputs["b"], of_b)


@pytest.mark.parametrize("name", ["a", "b"])
def test_each_of_two_towers_is_explained_with_the_other_held(towers: Any, name: str) -> None:
    """Both are held at two rows, one for each image."""
    model, net, a, b = towers
    x, other = (a, b) if name == "a" else (b, a)

    def of_one(given: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
        return net(given, held) if name == "a" else net(held, given)

    more = {"additional_forward_args": (other,)}
    gradient = captum.attr.Saliency(of_one).attribute(leaf(x), abs=False, **more)
    found = cs.saliency(model, {name: x}, kind="signed")
    assert_same(found.values, gradient[:, 0])
    assert f"explained: {name}; held as given: {'b' if name == 'a' else 'a'}" in found.provenance.notes
    path = captum.attr.IntegratedGradients(of_one).attribute(x, 0.2, n_steps=9, method="riemann_middle", **more)
    assert_same(cs.integrated_gradients(model, {name: x}, baseline=0.2, n_steps=9).values, path[:, 0])
    hidden = captum.attr.Occlusion(of_one).attribute(x, (1, 3, 2), (1, 2, 2), baselines=0.2, **more)
    found = cs.occlusion(model, {name: x}, window=(3, 2), stride=(2, 2), baseline=0.2)
    assert_same(found.values, hidden[:, 0])


def test_the_map_of_the_second_tower_is_of_its_own_run(towers: Any) -> None:
    """Both images go through the same layers."""
    model, net, a, b = towers
    for name, x, other, layer in (("a", a, b, "tower.1"), ("b", b, a, "tower.1:1")):
        maps = net.tower[:2](x).detach().requires_grad_()
        (gradient,) = torch.autograd.grad((net.tower[2:](maps) * net.tower(other)).sum(), maps)
        small = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True)
        found = cs.grad_cam(model, {name: x}, kind="signed")
        assert found.provenance.parameters["layer"] == layer
        assert_same(found.values, nn.functional.interpolate(small, (8, 8), mode="bilinear")[:, 0])


def test_a_similarity_is_not_taken_for_a_probability(towers: Any) -> None:
    """With ``a`` held, it lies from 0 to 1 for the images of noise that a network is tried on first."""
    model, _, a, b = towers
    for name, x in (("a", a), ("b", b)):
        assert cs.saliency(model, {name: x}).unit == "|change in score| per unit of input (logit)"


WRAPPED = {
    "a key": (lambda s: {"logits": s, "loss": s.sum()}, "logits"),
    "an index": (lambda s: (s[:, :1] * 0, s), 1),
    "a path": (lambda s: {"heads": [s * 0, {"b": s}], "x": s}, "heads.1.b"),
    "a named tuple": (lambda s: Pair(s * 0, s), "logits"),
    "a dataclass": (lambda s: Output(s, (s, s)), "logits"),
    "a function": (lambda s: [s, s], lambda output: output[1]),
}


class Gives(nn.Module):
    """A network whose output is whatever a function makes of its scores."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.conv, self.act, self.pool = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
        self.fc, self.wrap = nn.Linear(16, 3), wrap

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(self.fc(self.pool(self.act(self.conv(x))).flatten(1)))


@pytest.mark.parametrize("kind", WRAPPED)
def test_an_adapted_network_is_the_bare_one_in_all_it_shows(kind: str) -> None:
    wrap, output = WRAPPED[kind]
    bare, x = Gives(lambda s: s), torch.randn(2, 3, 12, 12)
    wrapped = Gives(wrap)
    wrapped.load_state_dict(bare.state_dict())
    plain, model = Model(bare), Model(wrapped, output=output)
    assert_close(model.predict(x).scores, plain.predict(x).scores, rtol=0, atol=0)
    assert model.layers((12, 12)) == plain.layers((12, 12))
    assert_close(cs.filters(model).values, cs.filters(plain).values)
    assert_close(cs.feature_maps(model, x)["act"], cs.feature_maps(plain, x)["act"])
    assert_close(cs.embed(model, x).vectors, cs.embed(plain, x).vectors)
    for method in (cs.grad_cam, cs.saliency, cs.occlusion, cs.layer_cam):
        found, expected = method(model, x), method(plain, x)
        assert_close(found.values, expected.values, rtol=0, atol=1e-6)
        assert found.targets == expected.targets
        assert found.provenance.parameters == expected.provenance.parameters
        assert found.provenance.model["weights_sha256"] == expected.provenance.model["weights_sha256"]
    near = cs.SimilarTo(x[1:])
    assert_close(cs.saliency(model, x[:1], target=near).values, cs.saliency(plain, x[:1], target=near).values)
    checks = [cs.sanity_check(m, x[:1], "saliency", n_stages=2) for m in (model, plain)]
    assert_close(checks[0].maps, checks[1].maps)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"logits": s, "other": s},
        lambda s: (s, s[:, :, None, None]),
        lambda s: Output(s, (s, s)),
        lambda s: {"a": {"scores": s}, "b": s.long()},
    ],
)
def test_scores_are_found_where_only_one_tensor_can_be_meant(wrap: Any) -> None:
    net, x = Gives(wrap), torch.randn(2, 3, 12, 12)
    bare = copy.deepcopy(net)
    bare.wrap = lambda s: s
    assert_close(Model(net).predict(x).scores, Model(bare).predict(x).scores)
    assert_close(cs.saliency(net, x, target=1).values, cs.saliency(bare, x, target=1).values)
    assert_close(cs.visualize(net, target=1, size_px=12, n_steps=2).input,
                 cs.visualize(bare, target=1, size_px=12, n_steps=2).input)  # fmt: skip


def test_a_head_that_gives_probabilities_is_noticed_behind_a_path() -> None:
    net, x = Gives(lambda s: {"x": s, "y": s.log_softmax(1)}), torch.randn(2, 3, 12, 12)
    found = Model(net, output="y").predict(x)
    assert found.normalization == "exp"
    assert_close(found.probabilities.sum(axis=1), np.ones(2))
    assert cs.saliency(Model(net, output="y"), x).unit == "|change in score| per unit of input (log-probability)"
    one = Model(Gives(lambda s: {"x": s, "y": s[:, 0]}), output="y", labels=["ill"]).predict(x)
    assert one.normalization == "sigmoid"
    assert one.scores.shape == (2, 1)


def test_what_is_not_there_is_an_error_that_says_what_is() -> None:
    net, x = Gives(lambda s: {"a": s, "b": (s, 3)}), torch.randn(1, 3, 12, 12)
    listed = r"a: float32 \(1, 3\); b\.0: float32 \(1, 3\); b\.1: int"
    for model in (Model(net), Model(net, output="c"), Model(net, output="b.2"), Model(net, output="a.0.shape")):
        with pytest.raises(ModelError, match=listed):
            model.predict(x)
    with pytest.raises(ModelError, match="expected a tensor of class scores"):
        Model(net, output="b").predict(x)
    for odd in (1.5, True, "", ["a"]):
        with pytest.raises(ParameterError, match="output="):
            Model(net, output=odd)


def test_the_boxes_of_a_detector_are_no_scores() -> None:
    net = Gives(lambda s: [{"boxes": s, "scores": s[:, 0]}])
    with pytest.raises(ModelError, match=r"returns a list .* 0\.boxes"):
        Model(net).predict(torch.randn(1, 3, 12, 12))


def test_forward_runs_what_is_not_simply_called(two: Any) -> None:
    net, x, m = two
    model = Model(net, forward=lambda module, image: module(image, meta=m[:1].expand(len(image), -1)))
    assert_same(model.predict(x).scores, net(x, m[:1].expand(3, -1)))
    assert [layer.name for layer in model.layers((8, 6))] == ["conv", "norm", "fc"]
    both = Model(
        net, inputs={"i": x[:1], "m": m[:1]}, forward=lambda module, given: module(given["i"], given["m"])
    )
    assert_same(cs.saliency(both, {"i": x, "m": m}, target=0).inputs["m"], gradients(net, x, m, target=0)[1].abs())


def test_a_network_that_remembers_starts_anew_behind_an_adapter() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.n = nn.Linear(12, 2), 0

        def look(self, x: torch.Tensor) -> torch.Tensor:
            self.n += 1
            return self.fc(x.flatten(1)) * self.n

    net, x = Counts(), torch.randn(3, 3, 2, 2)
    model = Model(net, forward=lambda module, x: module.look(x))
    assert_same(np.concatenate([model.predict(one[None]).scores for one in x]), net.fc(x.flatten(1)))
    found = cs.occlusion(model, x, target=0, window=1, stride=1).values
    weights = net.fc.weight[0].reshape(3, 2, 2)
    assert_same(found, (weights * x).sum(dim=1))
    assert net.n == 0


def test_a_copy_keeps_the_names_and_the_call(two: Any) -> None:
    net, x, m = two
    twin = copy.deepcopy(Adapted(net, lambda module, x: module(x, m), lambda s: s[:, :1]))
    assert_close(twin(x), net(x, m)[:, :1])
    assert twin.get_submodule("conv") is twin.network.conv
    assert twin.network is not net
    assert list(twin.state_dict()) == list(net.state_dict())
    assert [name for name, _ in twin.named_modules()] == [name for name, _ in net.named_modules()]


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"image": torch.zeros(1, 3, 8, 8), "met": torch.zeros(1, 5)}, "Two takes no 'met', but image, meta"),
        ({"image": torch.zeros(2, 3, 8, 8), "meta": torch.zeros(3, 5)}, "different numbers of rows"),
        ({"image": "cat.png"}, "expected tensors"),
        ((torch.zeros(1, 3, dtype=torch.long),), "none is floating-point"),
        ({"image": torch.full((1, 3, 8, 8), float("nan"))}, "NaN"),
        ("image", "expected a dict or a tuple"),
        ([], "expected a dict or a tuple"),
    ],
)
def test_inputs_that_do_not_fit_are_errors(inputs: Any, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        Model(Two(), inputs=inputs)


@pytest.mark.parametrize(
    "call", [{"other": torch.zeros(1, 5)}, {}, {"meta": torch.zeros(1, 5, 2)}, (torch.zeros(1, 3, 8, 8),) * 3]
)
def test_calls_that_do_not_fit_are_errors(two: Any, call: Any) -> None:
    net, x, m = two
    with pytest.raises(ParameterError, match=r"inputs|expected"):
        cs.saliency(Model(net, inputs={"image": x[:1], "meta": m[:1]}), call)
