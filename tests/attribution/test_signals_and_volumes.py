"""Signals (N, C, L) and volumes (N, C, D, H, W): against double loops, Captum, and autograd by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from tests.oracles.curves import area
from tests.oracles.occlusion import occlusion_any
from torch import nn
from torch.nn import functional

import convscope as cs
from convscope import ATTRIBUTIONS, ImageError, LayerError, ModelError, ParameterError
from convscope.attribution.noisy_gradients import noisy_copies
from convscope.errors import NotPicturesError

SIGNAL, VOLUME = (2, 30), (2, 5, 7, 8)
SHAPES = pytest.mark.parametrize("shape", [SIGNAL, VOLUME], ids=["signal", "volume"])
PICTURES_ONLY = {"attention_gradient", "attention_rollout", "kernel_shap", "lime", "lrp"}
OPTIONS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 6},
    "occlusion": {"window": 4, "stride": 3},
    "occlusion_multiscale": {"windows": [2, 4]},
    "rise": {"n_masks": 12, "cells": 3},
    "smoothgrad": {"n_samples": 6},
    "vargrad": {"n_samples": 6},
}


class Net(nn.Module):
    """Two convolutions with a batch norm and a maximum, and a classifier of 3 classes, for either shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        n = len(shape) - 1
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[n - 1]
        norm, pool = (nn.BatchNorm1d, None, nn.BatchNorm3d)[n - 1], (nn.MaxPool1d, None, nn.MaxPool3d)[n - 1]
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.first, self.norm, self.pool = conv(shape[0], 4, 3, padding=1), norm(4), pool(2)
            self.last, self.head = conv(4, 6, 3, padding=1), nn.Linear(6, 3)
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.norm(self.first(x))).relu()
        return self.head(self.last(x).relu().flatten(2).mean(dim=2))


def network(shape: tuple[int, ...]) -> nn.Module:
    return Net(shape).double().eval()


def inputs(shape: tuple[int, ...], n: int = 2) -> torch.Tensor:
    return torch.randn(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def leaf(x: torch.Tensor) -> torch.Tensor:
    """As Captum wants it."""
    return x.clone().requires_grad_()


def close(found: np.ndarray, expected: Any) -> None:
    expected = np.asarray(expected, np.float64)
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@SHAPES
@pytest.mark.parametrize("name", sorted(ATTRIBUTIONS))
def test_every_method_works_or_says_that_it_needs_pictures(name: str, shape: tuple[int, ...]) -> None:
    net, x = network(shape).float(), inputs(shape).float()
    if name in PICTURES_ONLY:
        with pytest.raises(ImageError, match=rf"{name} needs pictures \(N, C, H, W\)"):
            ATTRIBUTIONS[name](net, x, target=1)
        return
    found = ATTRIBUTIONS[name](net, x, target=1, **OPTIONS.get(name, {}))
    assert found.values.shape == (2, *shape[1:])
    assert np.isfinite(found.values).all()
    assert found.values.any()
    assert found.images.shape == ((2, *shape) if shape is SIGNAL else (2, *shape[1:], 3))
    alone = ATTRIBUTIONS[name](net, x[1:], target=1, **OPTIONS.get(name, {}))
    np.testing.assert_allclose(alone.values[0], found.values[1], rtol=0, atol=1e-5 * np.abs(found.values).max())


@SHAPES
@pytest.mark.filterwarnings("ignore:Setting:UserWarning")  # hooks, by Captum
def test_gradients_are_captums(shape: tuple[int, ...]) -> None:
    net, x = network(shape), inputs(shape)
    gradients = captum.attr.Saliency(net).attribute(leaf(x), target=1, abs=False)
    close(cs.saliency(net, x, target=1, kind="signed").values, gradients.sum(dim=1))
    close(cs.saliency(net, x, target=1).values, gradients.abs().amax(dim=1))
    baseline = torch.randn(1, *shape, dtype=torch.float64)
    steps = captum.attr.IntegratedGradients(net).attribute(
        leaf(x), baseline, 1, n_steps=9, method="riemann_middle"
    )
    ours = cs.integrated_gradients(net, x, target=1, n_steps=9, baseline=baseline[0])
    close(ours.values, steps.detach().sum(dim=1))
    quiet = captum.attr.NoiseTunnel(captum.attr.Saliency(net)).attribute(
        leaf(x), nt_samples=2, stdevs=0.0, target=1, abs=False
    )
    close(cs.smoothgrad(net, x, target=1, noise=0.0, n_samples=2, kind="signed").values, quiet.sum(dim=1))
    guided = captum.attr.GuidedBackprop(Rectified(net)).attribute(leaf(x), target=1)
    close(cs.guided_backprop(net, x, target=1, kind="signed").values, guided.detach().sum(dim=1))


@SHAPES
def test_noise_is_a_share_of_the_range_of_the_input(shape: tuple[int, ...]) -> None:
    net, x = network(shape), inputs(shape, 1)
    drawn = noisy_copies(x[0], 0.2, 3)(0, 5)
    deviation = 0.2 * float(x.max() - x.min())
    assert float((drawn - x).std()) == pytest.approx(deviation, rel=0.2)
    gradients = captum.attr.Saliency(net).attribute(leaf(drawn), target=1, abs=False)
    found = cs.smoothgrad(net, x, target=1, noise=0.2, n_samples=5, seed=3, kind="signed")
    close(found.values[0], gradients.mean(dim=0).sum(dim=0))
    varied = cs.vargrad(net, x, target=1, noise=0.2, n_samples=5, seed=3)
    close(varied.values[0], gradients.var(dim=0, correction=0).amax(dim=0))


class Rectified(nn.Module):
    """The same network with its ReLUs as modules, which Captum asks for."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.one, self.two = net, nn.ReLU(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(self.net.pool(self.net.norm(self.net.first(x))))
        return self.net.head(self.two(self.net.last(x)).flatten(2).mean(dim=2))


@SHAPES
@pytest.mark.filterwarnings("ignore:Setting:UserWarning")  # hooks, by Captum
def test_deep_lift_is_captums_and_its_maxima_add_up(shape: tuple[int, ...]) -> None:
    net, x = network(shape), inputs(shape)
    assert max(cs.deep_lift(net, x, target=1).provenance.measured["completeness_error"]) < 1e-5
    net.pool = nn.AvgPool1d(2) if shape is SIGNAL else nn.AvgPool3d(2)
    peer = captum.attr.DeepLift(Rectified(net)).attribute(leaf(x), target=1)
    close(cs.deep_lift(net, x, target=1).values, peer.detach().sum(dim=1))


@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [(SIGNAL, (5,), (3,)), (SIGNAL, (30,), (1,)), (VOLUME, (2, 3, 4), (1, 2, 3)), (VOLUME, (5, 1, 8), (5, 1, 8))],
)
def test_occlusion_is_the_double_loop_and_captums(
    shape: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    net, x, filler = network(shape), inputs(shape, 1), torch.randn(shape, dtype=torch.float64)

    def score(one: torch.Tensor) -> float:
        with torch.no_grad():
            return float(net(one[None])[0, 2])

    found = cs.occlusion(net, x, target=2, window=window, stride=stride, baseline=filler)
    expected = occlusion_any(score, x[0], window, stride, filler)
    np.testing.assert_allclose(found.values[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    peer = captum.attr.Occlusion(net).attribute(
        x, (shape[0], *window), strides=(shape[0], *stride), target=2, baselines=filler[None]
    )
    np.testing.assert_allclose(found.values[0], peer[0, 0], rtol=0, atol=1e-5 * np.abs(expected).max())
    assert found.provenance.measured["engine"] == "dense"


def test_an_ellipse_in_a_volume_is_inscribed_in_its_window() -> None:
    shape = (1, 6, 6, 6)
    total = nn.Sequential(nn.Flatten(), nn.Linear(216, 1, bias=False))
    nn.init.ones_(total[1].weight)
    found = cs.occlusion(total, torch.ones(1, *shape), window=6, stride=6, shape="ellipse")
    at = (np.indices((6, 6, 6)) + 0.5) / 3 - 1
    ball = (at**2).sum(axis=0) <= 1
    assert np.array_equal(found.values[0] > 0, ball)
    assert found.values.max() == ball.sum()


@SHAPES
def test_the_incremental_engine_says_that_it_is_for_pictures(shape: tuple[int, ...]) -> None:
    found = cs.occlusion(network(shape), inputs(shape, 1), target=0, window=3, engine="incremental")
    assert any("the whole network was run: only the changes of pictures" in n for n in found.provenance.notes)


@SHAPES
def test_windows_of_another_number_of_sides_are_refused(shape: tuple[int, ...]) -> None:
    net, x = network(shape), inputs(shape, 1)
    name = {1: "(length,)", 3: "(depth, height, width)"}[len(shape) - 1]
    with pytest.raises(ParameterError) as caught:
        cs.occlusion(net, x, target=0, window=(2, 2))
    assert name in str(caught.value)
    with pytest.raises(ParameterError, match=r"superpixel.* needs pictures"):
        cs.occlusion(net, x, target=0, shape="superpixel")
    masks = np.zeros((3, *shape[1:]), bool)
    masks[0, ..., :2] = masks[1, ..., 2:] = True
    found = cs.occlusion(net, x, target=0, shape=masks).values[0]
    assert len(np.unique(found)) == 2


def by_hand(name: str, net: nn.Module, x: torch.Tensor, target: int) -> torch.Tensor:
    """The map (N, *sides) of the last layer, from its formula, before it is enlarged."""
    activations = net.last(net.pool(net.norm(net.first(x))).relu()).detach().requires_grad_()
    score = net.head(activations.relu().flatten(2).mean(dim=2))[:, target]
    (g,) = torch.autograd.grad(score.sum(), activations)
    flat, g = activations.detach().flatten(2), g.flatten(2)
    if name == "grad_cam":
        weights = g.mean(dim=2, keepdim=True)
    elif name == "layer_cam":
        weights = g.clamp_min(0)
    elif name == "grad_cam_plus_plus":
        shares = g**2 / (2 * g**2 + flat.sum(dim=2, keepdim=True) * g**3)
        weights = (shares.nan_to_num(0, 0, 0) * g.clamp_min(0)).sum(dim=2, keepdim=True)
    else:  # eigen_cam
        vectors = torch.linalg.eigh(flat @ flat.mT).eigenvectors[:, :, -1:]
        weights = vectors * torch.where((vectors * flat).sum(dim=(1, 2), keepdim=True) < 0, -1, 1)
    return (weights * flat).sum(dim=1).reshape(len(x), *activations.shape[2:])


@SHAPES
@pytest.mark.parametrize("name", ["grad_cam", "layer_cam", "grad_cam_plus_plus", "eigen_cam"])
def test_class_activation_maps_are_their_formulas(name: str, shape: tuple[int, ...]) -> None:
    net, x = network(shape), inputs(shape)
    found = ATTRIBUTIONS[name](net, x, target=1, kind="signed")
    assert found.provenance.parameters["layer"] == "last"
    mode = "linear" if shape is SIGNAL else "trilinear"
    expected = functional.interpolate(by_hand(name, net, x, 1)[:, None], shape[1:], mode=mode)[:, 0]
    close(found.values, expected)


@SHAPES
def test_score_cam_is_its_formula(shape: tuple[int, ...]) -> None:
    net, x = network(shape), inputs(shape, 1)
    mode = "linear" if shape is SIGNAL else "trilinear"
    with torch.no_grad():
        maps = net.last(net.pool(net.norm(net.first(x))).relu())[0]
        large = functional.interpolate(maps[:, None], shape[1:], mode=mode)[:, 0].flatten(1)
        low, high = large.amin(1, keepdim=True), large.amax(1, keepdim=True)
        masks = ((large - low) / (high - low)).reshape(-1, *shape[1:])
        weights = net(x * masks[:, None])[:, 1].softmax(dim=0)
        small = (weights @ maps.flatten(1)).reshape(1, 1, *maps.shape[1:])
        expected = functional.interpolate(small, shape[1:], mode=mode)[:, 0]
    close(cs.score_cam(net, x, target=1, kind="signed").values, expected)


@SHAPES
def test_rise_finds_the_place_that_alone_matters(shape: tuple[int, ...]) -> None:
    place = (11,) if shape is SIGNAL else (2, 4, 3)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 1, bias=False))
    nn.init.zeros_(linear[1].weight)
    linear[1].weight.data.view(shape)[0, *place] = 1.0
    x = torch.ones(1, *shape)
    found = cs.rise(linear, x, cells=5, n_masks=4000)
    peak = np.unravel_index(found.values[0].argmax(), shape[1:])
    assert np.abs(np.subtract(peak, place)).max() <= 1
    # By the definition, with masks of the same seed.
    from convscope.attribution.rise import random_masks

    masks = random_masks(50, 5, 0.5, shape[1:], 0, like=x)(0, 50)
    assert masks.shape == (50, *shape[1:])
    assert 0 <= float(masks.min()) <= float(masks.max()) <= 1
    scores = masks[:, *place].double()
    expected = ((scores - scores.mean()) @ masks.flatten(1).double() / 25).reshape(shape[1:])
    ours = cs.rise(linear, x, cells=5, n_masks=50).values[0]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("sides", "cells"), [(SIGNAL[1:], 4), (VOLUME[1:], 4), ((3, 8, 9), 7)])
def test_masks_of_rise_are_upsampled_as_torch_does_it(sides: tuple[int, ...], cells: int) -> None:
    """Along a side of few pixels, as of a short clip, there is a cell for each."""
    from convscope.attribution.rise import random_masks

    n, along = len(sides), [min(cells, side) for side in sides]
    masks = random_masks(3, cells, 0.5, sides, 7, like=torch.zeros(1))(0, 3)
    drawn = torch.rand(3, int(np.prod(along)) + n, generator=torch.Generator().manual_seed(7))
    each = [-(-side // number) for side, number in zip(sides, along, strict=True)]
    grid = (drawn[:, :-n] < 0.5).float().reshape(3, 1, *along)
    mode = "linear" if n == 1 else "trilinear"
    full = [(number + 1) * side for number, side in zip(along, each, strict=True)]
    large = functional.interpolate(grid, full, mode=mode)[:, 0]
    for m in range(3):
        first = [int(drawn[m, k - n] * side) for k, side in enumerate(each)]
        cut = large[(m, *(slice(at, at + side) for at, side in zip(first, sides, strict=True)))]
        torch.testing.assert_close(masks[m], cut, rtol=0, atol=1e-5)


@SHAPES
def test_deletion_and_insertion_go_place_by_place(shape: tuple[int, ...]) -> None:
    net, x = network(shape), inputs(shape, 1)
    values = cs.saliency(net, x, target=1)
    found = cs.evaluate(net, x, values, target=1, score="logit", n_steps=5)
    assert "road" not in found.measures
    with pytest.raises(ParameterError, match="'road' needs pictures"):
        cs.evaluate(net, x, values, target=1, measures=["road"])
    order = np.argsort(-values.values[0].ravel(), kind="stable")
    below, above = [], []
    with torch.no_grad():
        for k in range(6):
            first = order[: round(k / 5 * order.size)]
            without, only = x[0].flatten(1).clone(), torch.zeros_like(x[0].flatten(1))
            only[:, first] = without[:, first]
            without[:, first] = 0
            below.append(float(net(without.reshape(x.shape))[0, 1]))
            above.append(float(net(only.reshape(x.shape))[0, 1]))
    at = found.measures.index
    close(found.values[0, [at("deletion_mean"), at("insertion_mean")], 0], [area(below), area(above)])
    random = np.random.default_rng(0).random((1, *shape[1:]))
    regions = random > 0.5
    located = cs.evaluate(net, x, {"mine": random}, target=1, regions=regions, measures=["pointing"])
    assert located.values[0, 0, 0] == 1.0


@SHAPES
@pytest.mark.parametrize("baseline", ["blur", "noise", 0.5])
def test_baselines_have_the_shape_of_the_input(shape: tuple[int, ...], baseline: Any) -> None:
    from convscope.perturbation import baseline_of

    x = inputs(shape, 1)[0]
    behind = baseline_of(cs.Model(network(shape)), baseline, preprocessed=True, seed=0)(x)
    assert behind.shape == x.shape
    if baseline == "blur":  # by SciPy, which mirrors in the same way
        from scipy.ndimage import gaussian_filter1d

        sigma = max(0.5, min(shape[1:]) / 20)
        expected = x.numpy()
        for axis in range(1, x.ndim):
            reach = min(int(np.ceil(3 * sigma)), x.shape[axis] - 1)
            expected = gaussian_filter1d(expected, sigma, axis, mode="mirror", radius=reach)
        np.testing.assert_allclose(behind, expected, rtol=0, atol=1e-6)


def test_a_picture_without_a_batch_is_not_taken_for_signals() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(1), nn.Linear(14 * 14, 3))
    with pytest.raises(ModelError, match=r"a single image without a batch.*One picture \(C, H, W\) is x\[None\]"):
        cs.saliency(net, torch.randn(1, 16, 16), target=1)
    with pytest.raises(ImageError, match=r"One picture \(C, H, W\) is x\[None\]"):
        cs.saliency(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.randn(3, 16, 16), target=1)
    model = cs.Model(nn.Conv2d(3, 4, 3), input_size=(8, 8), mean=[0.5] * 3, std=[0.5] * 3)
    with pytest.raises(ImageError, match=r"signals \(N, C, L\) do not fit: this model has the preprocessing"):
        cs.saliency(model, torch.randn(2, 3, 16), target=1)


@SHAPES
def test_an_input_that_a_class_likes_is_a_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(NotPicturesError, match=r"visualize makes pictures .* has Conv.d alone"):
        cs.visualize(network(shape), target=1)
    with pytest.raises(NotPicturesError, match="visualize needs pictures"):
        cs.visualize(nn.Sequential(nn.Conv2d(2, 4, 3)), target=1, start=torch.zeros(1, *shape))


@SHAPES
def test_layers_have_the_shapes_and_receptive_fields_of_their_outputs(shape: tuple[int, ...]) -> None:
    model = cs.Model(network(shape))
    layers = {layer.name: layer for layer in model.layers(shape[1:])}
    halves = tuple(side // 2 for side in shape[1:])
    n = len(halves)
    assert layers["first"].shape == (4, *shape[1:])
    assert layers["last"].shape == (6, *halves)
    assert layers["first"].receptive_field == (3,) * n
    assert layers["pool"].receptive_field == (4,) * n
    assert layers["last"].receptive_field == (8,) * n
    assert model.structure(shape).features is not None
    assert model.structure(shape).features.name == "head:input"


@SHAPES
def test_feature_maps_are_arrays_without_a_picture(shape: tuple[int, ...], tmp_path: Path) -> None:
    net, x = network(shape), inputs(shape)
    found = cs.feature_maps(net, x, layer=["first", "head:input"])
    np.testing.assert_allclose(found["first"], net.first(x).detach(), rtol=0, atol=1e-5)
    assert found["head:input"].shape == (2, 6)
    again = cs.FeatureMaps.load(found.save(tmp_path / "saved"))
    np.testing.assert_array_equal(again["first"], found["first"])
    assert "<pre>" in found._repr_html_()
    with pytest.raises(ParameterError, match="have no picture"):
        found.plot()


class Transformer(nn.Module):
    """Tokens (N, L, D) of a signal; the layers between hold their channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Conv1d(2, 8, 4, stride=4)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.embedding(x).transpose(1, 2)).mean(dim=1))


def test_tokens_of_a_signal_are_maps_with_their_channels_last() -> None:
    net, x = Transformer().eval(), torch.randn(2, 2, 48)
    found = cs.grad_cam(net, x, target=1, kind="signed")
    assert found.provenance.parameters["layer"] == "block"
    kept = net.block(net.embedding(x).transpose(1, 2)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net.head(kept.mean(dim=1))[:, 1].sum(), kept)
    small = (gradient.mean(dim=1, keepdim=True) * kept).sum(dim=2).detach()
    close(found.values, functional.interpolate(small[:, None], 48, mode="linear")[:, 0])


def test_a_spectrogram_is_no_map_of_the_signal() -> None:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            heights = x[:, 0].unfold(1, 16, 4)[:, None]
            return self.head(self.conv(heights).relu().mean(dim=(2, 3)))

    net, x = Spectral().eval(), torch.randn(1, 1, 64)
    with pytest.raises(LayerError, match="no feature map"):
        cs.grad_cam(net, x, target=1)
    gradient = captum.attr.Saliency(net).attribute(leaf(x), target=1)
    np.testing.assert_allclose(cs.saliency(net, x, target=1).values, gradient[:, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(12, 40), (33, 17), (8, 9)])
def test_pictures_need_not_be_square_and_sizes_may_change(size: tuple[int, int]) -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    net = net.double().eval()
    for shape in ((2, *size), (2, *size[::-1])):
        x = inputs(shape)
        gradients = captum.attr.Saliency(net).attribute(leaf(x), target=1, abs=False)
        close(cs.saliency(net, x, target=1, kind="signed").values, gradients.sum(dim=1))
        assert cs.grad_cam(net, x, target=1).values.shape == (2, *shape[1:])
        peer = captum.attr.Occlusion(net).attribute(x, (2, 5, 4), strides=(2, 3, 2), target=1, baselines=0)
        ours = cs.occlusion(net, x, target=1, window=(5, 4), stride=(3, 2)).values
        np.testing.assert_allclose(ours, peer[:, 0], rtol=0, atol=1e-5 * float(peer.abs().max()))
