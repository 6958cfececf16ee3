"""What every method takes for granted of a network is looked at: rows, repetition, and what scores are."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

import convscope as cs
from convscope import ModelError


class Net(nn.Module):
    """A convolution, ``middle`` on its maps (N, 6, h, w), their means, and a linear layer."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.conv, self.middle, self.fc = nn.Conv2d(3, 6, 3), middle, nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.middle(self.conv(x).relu()).mean((2, 3)))


class Does(nn.Module):
    def __init__(self, what: object) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.what(x)  # type: ignore[operator]


class OverTheBatch(nn.Module):
    """A recurrent layer that takes the batch for time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        return self.lstm(x.flatten(2).transpose(1, 2))[0].transpose(1, 2).reshape(n, c, h, w)


def batch_attention(x: torch.Tensor) -> torch.Tensor:
    flat = x.flatten(1)
    return ((flat @ flat.T / 100).softmax(dim=1) @ flat).reshape(x.shape)


MIXING = {
    "time and batch interchanged": OverTheBatch,
    "batch statistics": lambda: nn.BatchNorm2d(6, track_running_stats=False),
    "centered by the batch": lambda: Does(lambda x: x - x.mean()),
    "a branch on the mean": lambda: Does(lambda x: x * 2 if x.mean() > 2 else -x),
    "a branch on the largest": lambda: Does(lambda x: x * 2 if x.max() > 4 else -x),
    "scaled by the largest": lambda: Does(lambda x: x / x.abs().max()),
    "attention over the batch": lambda: Does(batch_attention),
}


@pytest.mark.parametrize("kind", MIXING)
def test_a_network_that_mixes_images_is_run_one_at_a_time_and_says_so(kind: str) -> None:
    net, x = Net(MIXING[kind]()).eval(), torch.randn(3, 3, 10, 10)
    # Maps of the dark image have a mean of 0.4, those of the bright one of 7, far from where the branches part.
    nn.init.constant_(net.conv.weight, 0.1)
    nn.init.constant_(net.conv.bias, 3.0)
    with torch.no_grad():
        alone = torch.cat([net(row[None]) for row in x])
    model = cs.Model(net)
    prediction = model.predict(x)
    assert_close(torch.from_numpy(prediction.scores), alone, rtol=0, atol=1e-6)
    assert any("one image at a time" in note for note in prediction.provenance.notes), prediction.provenance.notes
    for method, options in (("occlusion", {"window": 5, "stride": 5}), ("rise", {"n_masks": 6}), ("saliency", {})):
        found = getattr(cs, method)(model, x, target=1, **options)
        singly = [getattr(cs, method)(model, row[None], target=1, **options).values for row in x]
        np.testing.assert_allclose(found.values, np.concatenate(singly), rtol=0, atol=1e-6)
        assert any("one image at a time" in note for note in found.provenance.notes)


def test_occlusion_of_a_network_that_mixes_images_is_that_of_the_plain_loop() -> None:
    net, x = Net(MIXING["batch statistics"]()).eval(), torch.randn(1, 3, 12, 12)
    found = cs.occlusion(net, x, target=2, window=4, stride=4).values[0]
    with torch.no_grad():
        for top in range(0, 12, 4):
            for left in range(0, 12, 4):
                hidden = x.clone()
                hidden[..., top : top + 4, left : left + 4] = 0
                fall = float(net(x)[0, 2] - net(hidden)[0, 2])
                assert found[top, left] == pytest.approx(fall, abs=1e-5)


def test_a_network_that_takes_one_image_only_is_run_so() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.conv(x).relu().reshape(1, 4, -1).mean(2))

    class Strict(Single):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) != 1:
                raise ValueError("one at a time")
            return super().forward(x)

    prediction = cs.Model(Strict()).predict(torch.randn(3, 3, 8, 8))
    assert prediction.scores.shape == (3, 3)
    assert any("accepts one image at a time (one at a time)" in note for note in prediction.provenance.notes)


RANDOM = {
    "live dropout": lambda: Does(functional.dropout),
    "noise": lambda: Does(lambda x: x + 0.1 * torch.randn_like(x)),
    "numpy's noise": lambda: Does(lambda x: x * float(np.random.rand())),  # noqa: NPY002
    "a generator of its own": lambda: Noisy(),
}


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn(x.shape, generator=self.generator)


@pytest.mark.parametrize("kind", RANDOM)
def test_a_network_that_gives_something_else_again_is_refused(kind: str) -> None:
    net, x = Net(RANDOM[kind]()).eval(), torch.randn(2, 3, 10, 10)
    state = torch.get_rng_state()
    for call in (
        lambda: cs.Model(net).predict(x),
        lambda: cs.occlusion(net, x, target=1, window=5),
        lambda: cs.saliency(net, x, target=1),
        lambda: cs.embed(net, x),
        lambda: cs.feature_maps(net, x),
        lambda: cs.visualize(net, target=1, size_px=10, n_steps=2),
    ):
        with pytest.raises(ModelError, match="gives other scores when it is run again"):
            call()
    assert torch.equal(state, torch.get_rng_state())
    assert cs.Model(net).layers((10, 10))  # its layers can be listed all the same


@pytest.mark.parametrize(
    "name", ["timm:test_vit", "timm:test_resnet", "timm:test_convnext", "torchvision:mobilenet_v2"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rounding_is_no_fault(name: str, dtype: torch.dtype) -> None:
    source, _, architecture = name.partition(":")
    make = timm.create_model if source == "timm" else torchvision.models.get_model
    net = make(architecture).eval().to(dtype)
    size = net.default_cfg["input_size"][1] if source == "timm" else 96
    structure = cs.Model(net).structure((3, size, size))
    assert structure.rows_independent
    assert not structure.refusal
    assert not structure.notes


# Scores


class Ends(nn.Module):
    """Scores of ``n`` classes, put through ``last``."""

    def __init__(self, n: int, last: object) -> None:
        super().__init__()
        self.conv, self.fc, self.last = nn.Conv2d(3, 6, 3), nn.Linear(6, n), last
        nn.init.uniform_(self.fc.weight, 0.1, 0.9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(2 * self.fc(self.conv(x).relu().mean((2, 3))))  # type: ignore[operator]


def softmax(x: torch.Tensor) -> torch.Tensor:
    return x.softmax(dim=1)


def by_hand(x: torch.Tensor) -> torch.Tensor:
    return x.exp() / x.exp().sum(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("n", "last", "ends_in", "of_scores"),
    [
        (4, lambda x: x, "", softmax),
        (4, softmax, "softmax", lambda x: x),
        (4, by_hand, "softmax", lambda x: x),
        (4, lambda x: x.softmax(1).reshape(-1, 2, 2).flatten(1), "softmax", lambda x: x),
        (4, lambda x: x.log_softmax(dim=1), "log_softmax", torch.exp),
        (4, torch.sigmoid, "sigmoid", lambda x: x),
        (1, torch.sigmoid, "sigmoid", lambda x: x),
        (1, lambda x: x, "", torch.sigmoid),
        (4, lambda x: x.sigmoid() * 3, "", softmax),
        (4, lambda x: x.clamp(0, 1) + x / 100, "", softmax),
    ],
)
def test_probabilities_are_told_from_logits(n: int, last: object, ends_in: str, of_scores: object) -> None:
    net, x = Ends(n, last), torch.randn(2, 3, 9, 9)
    model = cs.Model(net)
    assert model.structure((3, 9, 9)).ends_in == ends_in
    with torch.no_grad():
        expected = of_scores(net(x))  # type: ignore[operator]
    prediction = model.predict(x)
    assert_close(torch.from_numpy(prediction.probabilities), expected.double(), rtol=0, atol=1e-6)
    asked = cs.saliency(model, x, target=0, score="probability")
    assert_close(torch.from_numpy(asked.scores), expected[:, 0], rtol=0, atol=1e-6)
    assert "probability" in asked.unit
    raw = cs.occlusion(model, x, target=0, window=3, stride=3)
    unit = {"": "logit", "log_softmax": "log-probability"}.get(ends_in, "probability")
    assert raw.unit == f"fall of the score when hidden ({unit})"
    if ends_in:
        said = "log-softmax" if ends_in == "log_softmax" else "a softmax or a sigmoid"
        assert any(said in note for note in raw.provenance.notes)
    else:
        assert not raw.provenance.notes


def test_one_logit_is_not_certain_of_its_only_class() -> None:
    net = Ends(1, lambda x: x)
    net.fc.bias.data -= 4
    x = torch.randn(1, 3, 9, 9)
    (best,) = cs.Model(net).predict(x).top(1)[0]
    assert best.probability == pytest.approx(float(net(x).detach().sigmoid()), abs=1e-6)
    assert best.probability < 0.5
    found = cs.occlusion(net, x, score="probability", window=3)
    assert found.values.any()
    assert any("sigmoid of its score" in note for note in found.provenance.notes)


def test_several_labels_have_probabilities_of_their_own() -> None:
    net, x = Ends(4, lambda x: x), torch.randn(2, 3, 9, 9)
    model = cs.Model(net, multilabel=True)
    expected = net(x).detach().sigmoid()
    prediction = model.predict(x)
    assert_close(torch.from_numpy(prediction.probabilities), expected.double(), rtol=0, atol=1e-6)
    assert any("sigmoid of its score" in note for note in prediction.provenance.notes)
    found = cs.saliency(model, x, target=2, score="probability")
    assert_close(torch.from_numpy(found.scores), expected[:, 2], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_store_takes_the_probability_that_the_network_says(tmp_path: object) -> None:
    net, x = Ends(4, softmax), torch.randn(3, 3, 9, 9)
    model = cs.Model(net, input_size=(9, 9), mean=[0.5] * 3, std=[0.5] * 3)
    images = list((model.to_pixels(x)).astype(np.uint8))
    store = cs.embed(model, images, store=tmp_path / "a.lance")  # type: ignore[operator]
    values = np.asarray(store.to_arrow(["probability"])["probability"])
    np.testing.assert_allclose(values, model.predict(images).scores.max(axis=1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("last", "least"), [(lambda x: x, 0.0), (torch.sigmoid, 0.5)])
def test_the_region_of_one_channel_is_where_it_is_more_likely_than_not(last: object, least: float) -> None:
    class Segments(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return last(self.conv(x))  # type: ignore[operator]

    net, x = Segments(), torch.randn(2, 3, 12, 12)
    y = net(x).detach()[:, 0]
    found = cs.saliency(net, x, target=cs.Region(0))
    expected = torch.where(y > least, y, 0).sum(dim=(1, 2))
    assert_close(torch.from_numpy(found.scores), expected, rtol=0, atol=1e-4)
    assert not torch.isclose(expected, y.sum(dim=(1, 2))).any()
