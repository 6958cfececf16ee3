"""The engines of occlusion: the same scores either way, and what is said about them."""

from __future__ import annotations

import gc
import json
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.incremental.networks import SqueezeExcite, lively
from torch import nn
from torch.testing import assert_close

from convscope import Interrupted, Model, ParameterError, occlusion
from convscope.execution import kernels
from convscope.incremental import IncrementalRun
from convscope.perturbation import Scorer, engine_choice
from convscope.perturbation.masks import windows

SIZE = (20, 24)


@pytest.fixture
def net() -> nn.Module:
    layers = [
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    ]  # fmt: skip
    return lively(nn.Sequential(*layers), (3, *SIZE))


def image(n: int = 1) -> torch.Tensor:
    return torch.randn(n, 3, *SIZE, generator=torch.Generator().manual_seed(1))


MASKS = np.random.default_rng(0).random((7, *SIZE)) < 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"window": 6},
        {"window": (5, 7), "stride": (3, 2)},
        {"window": 6, "shape": "ellipse", "baseline": "noise"},
        {"window": 8, "shape": "superpixel", "baseline": "blur"},
        {"shape": MASKS},
        {"window": 4, "score": "probability"},
        {"window": 4, "target": lambda out: out[:, 0] - out[:, 1]},
    ],
)
def test_both_engines_give_the_same(net: nn.Module, options: dict[str, Any]) -> None:
    x = image(2)
    found, expected = (occlusion(net, x, engine=engine, **options) for engine in ("incremental", "dense"))
    assert found.provenance.measured["engine"] == "incremental"
    assert expected.provenance.measured == {"precision": "float32", "engine": "dense"}
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-6 * np.ptp(expected.values) + 1e-7)


@pytest.mark.slow
def test_both_engines_give_the_same_on_a_real_network_and_photo(lite0: Model, coffee: np.ndarray) -> None:
    found, expected = (
        occlusion(lite0, coffee, target="espresso", window=48, stride=31, engine=engine)
        for engine in ("incremental", "dense")
    )
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-4 * np.ptp(expected.values))
    measured = found.provenance.measured
    assert measured["predicted_ratio"] > 1.3
    assert measured["measured_ratio"] > 0
    assert 0 <= measured["deviation"] < 1e-5


def test_auto_takes_the_incremental_engine_where_it_pays(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    assert occlusion(net, image(), window=6).provenance.measured["engine"] == "dense"  # too little to do
    monkeypatch.setattr(engine_choice, "WORK", 0)
    assert occlusion(net, image(), window=6).provenance.measured["engine"] == "incremental"


def test_auto_runs_whole_networks_where_nearly_all_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_choice, "WORK", 0)
    squeezed = nn.Sequential(
        nn.Conv2d(3, 6, 1), SqueezeExcite(6), nn.Conv2d(6, 30, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    measured = occlusion(squeezed.eval(), image(), window=6).provenance.measured
    assert measured["engine"] == "dense"
    assert 1 <= measured["predicted_ratio"] < 1.1
    forced = occlusion(squeezed, image(), window=6, engine="incremental").provenance.measured
    assert forced["engine"] == "incremental"


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean([2, 3]) if float(x.sum()) > 1e9 else x.amax([2, 3])


def test_a_network_that_cannot_be_taken_apart_is_run_whole_with_a_note() -> None:
    found = occlusion(Branching(), image(), target=0, window=6, engine="incremental")
    expected = occlusion(Branching(), image(), target=0, window=6, engine="dense")
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.provenance.measured["engine"] == "dense"
    assert "cannot be split into operations" in found.provenance.notes[0]
    assert expected.provenance.notes == ()


def test_a_wrong_answer_is_noticed_and_put_right(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = IncrementalRun.outputs
    monkeypatch.setattr(IncrementalRun, "outputs", lambda self, layout, parts: outputs(self, layout, parts) + 0.1)
    found = occlusion(net, image(2), target=0, window=6, engine="incremental")
    expected = occlusion(net, image(2), target=0, window=6, engine="dense")
    np.testing.assert_array_equal(found.values, expected.values)
    (note,) = found.provenance.notes
    assert "incremental inference failed" in note
    assert "off by" in note
    assert found.provenance.measured["engine"] == "dense"


@pytest.mark.parametrize("error", [KeyError("a rule"), RuntimeError("no kernel"), torch.OutOfMemoryError("full")])
def test_whatever_goes_wrong_whole_networks_are_run(
    net: nn.Module, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(self: IncrementalRun, *given: Any) -> torch.Tensor:
        raise error

    monkeypatch.setattr(IncrementalRun, "outputs", broken)
    found = occlusion(net, image(2), target=0, window=6, engine="incremental")
    expected = occlusion(net, image(2), target=0, window=6, engine="dense")
    np.testing.assert_array_equal(found.values, expected.values)
    assert type(error).__name__ in found.provenance.notes[0]


class Wrapped(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": self.net(x)}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_outputs_in_a_dictionary_reach_the_callable_as_they_are(net: nn.Module, precision: Any) -> None:
    options: dict[str, Any] = {"target": lambda out: out["out"][:, 1], "window": 6, "engine": "incremental"}
    found = occlusion(Wrapped(net), image(), precision=precision, **options)
    expected = occlusion(net, image(), target=1, window=6, engine="dense", precision=precision).values
    rounding = 1e-6 if precision == "float32" else 0.05 * np.abs(expected).max()
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=rounding)
    assert found.provenance.measured["engine"] == "incremental"


def test_a_network_that_returns_several_maps_and_constants(net: nn.Module) -> None:
    """Maps from two depths, one of them twice, and what is the same for every image."""

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.early, self.late = net[:3], net[3:5]
            self.register_buffer("anchors", torch.arange(3.0))

        def forward(self, x: torch.Tensor) -> Any:
            early = self.early(x)
            late = self.late(early)
            return {"maps": (early, [late, late * 2]), "anchors": self.anchors, "levels": 2, "image": x}

    def score(out: Any) -> torch.Tensor:
        early, (late, double) = out["maps"]
        maxima = early.amax((1, 2, 3)) + late.amax((1, 2, 3)) * double.amax((1, 2, 3))
        return maxima * out["anchors"].sum() * out["levels"] + out["image"].square().sum((1, 2, 3))

    options: dict[str, Any] = {"target": score, "window": 6, "stride": 3}
    found, expected = (occlusion(Heads().eval(), image(), engine=e, **options) for e in ("incremental", "dense"))
    assert found.provenance.measured["engine"] == "incremental"
    assert expected.values.any()
    scale = float(np.abs(expected.values).max())
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-5 * scale)


def test_a_network_that_puts_out_maps(net: nn.Module) -> None:
    maps = net[:5].eval()
    options: dict[str, Any] = {"target": lambda out: out[:, 1].amax((1, 2)), "window": 6}
    found, expected = (occlusion(maps, image(), engine=e, **options).values for e in ("incremental", "dense"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("engine", ["incremental", "dense"])
def test_bfloat16_says_how_far_it_is_off(net: nn.Module, engine: Any) -> None:
    exact = occlusion(net, image(), target=0, window=6, engine="dense").values
    found = occlusion(net, image(), target=0, window=6, engine=engine, precision="bfloat16")
    assert 0 < found.provenance.measured["deviation"] < 0.05
    assert found.provenance.measured["precision"] == "bfloat16"
    assert found.values.dtype == np.float32
    assert 0 < np.abs(found.values - exact).max() < 0.1


def test_a_batch_that_does_not_fit_is_made_smaller(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = occlusion(net, image(), target=0, window=6, engine="incremental").values
    outputs, sizes = IncrementalRun.outputs, []

    def scarce(self: IncrementalRun, layout: Any, parts: torch.Tensor) -> torch.Tensor:
        if len(parts) > 4:
            raise torch.OutOfMemoryError
        sizes.append(len(parts))
        return outputs(self, layout, parts)

    monkeypatch.setattr(IncrementalRun, "outputs", scarce)
    np.testing.assert_allclose(
        occlusion(net, image(), target=0, window=6, engine="incremental").values, expected, rtol=0, atol=1e-6
    )
    assert max(sizes) == 4


def test_ctrl_c_keeps_finished_images(net: nn.Module) -> None:
    def stop(done: int, total: int) -> None:
        if done > 50:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        occlusion(net, image(3), target=0, window=6, engine="incremental", progress=stop)
    kept = caught.value.result
    assert len(kept.values) == 1
    assert kept.provenance.measured["engine"] == "incremental"


def test_several_targets_cost_one_pass(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Model(net), image()[0]
    masks = windows(SIZE, (6, 6), (3, 3))
    scorer = Scorer(model, "incremental", "float32")
    batches = 0
    outputs = IncrementalRun.outputs

    def counted(self: IncrementalRun, *given: Any) -> torch.Tensor:
        nonlocal batches
        batches += 1
        return outputs(self, *given)

    monkeypatch.setattr(IncrementalRun, "outputs", counted)
    with torch.inference_mode():
        together = scorer.drops(x, torch.zeros_like(x), masks, lambda out, _: out)
        alone = [scorer.drops(x, torch.zeros_like(x), masks, lambda out, _, k=k: out[:, k]) for k in range(3)]
    assert together.shape == (len(masks), 3)
    n_batches = -(-len(masks) // 32)
    assert (
        batches == 1 + 4 * n_batches
    )  # the first variants for a check, then once for all three and once for each
    torch.testing.assert_close(together, torch.stack(alone, dim=1), rtol=0, atol=1e-7)


def test_without_onednn_it_is_the_same(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = occlusion(net, image(), target=0, window=6, engine="dense").values
    monkeypatch.setattr(kernels, "_ONE_PASS_TYPES", ())
    monkeypatch.setattr(kernels.Convolution, "_one_pass", None)
    found = occlusion(Model(net), image(), target=0, window=6, engine="incremental").values
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_networks_in_float64(net: nn.Module) -> None:
    x = image().double()
    found, expected = (occlusion(net.double(), x, target=0, window=6, engine=e) for e in ("incremental", "dense"))
    assert found.provenance.measured["deviation"] < 1e-12
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-7)


def test_the_network_is_as_it_was(net: nn.Module) -> None:
    net.train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    flags = [(p.requires_grad, p.grad) for p in net.parameters()]
    x = image()
    given = x.clone()
    occlusion(net, x, target=0, window=6, engine="incremental")
    assert all(m.training and not m._forward_hooks for m in net.modules())
    assert [(p.requires_grad, p.grad) for p in net.parameters()] == flags
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(x, given)


def test_what_was_measured_is_in_the_manifest(net: nn.Module, tmp_path: Path) -> None:
    occlusion(net, image(), target=0, window=6, engine="incremental").save(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert set(manifest["provenance"]["measured"]) == {
        "engine", "precision", "predicted_ratio", "measured_ratio", "deviation"
    }  # fmt: skip


@pytest.mark.parametrize("option", [{"engine": "fast"}, {"precision": "int8"}])
def test_other_engines_and_precisions_are_errors(net: nn.Module, option: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(option))):
        occlusion(net, image(), window=6, **option)


class Counting(nn.Module):
    """Changes a buffer whenever it runs."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("n", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n += 1
        return self.net(x)


class Masked(nn.Module):
    """A class that can never be."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x) + torch.tensor([0.0, 0.0, -torch.inf])


@pytest.mark.parametrize("wrapped", [Counting, Masked])
def test_odd_networks_run_incrementally(net: nn.Module, wrapped: Any) -> None:
    found = occlusion(wrapped(net), image(2), target=0, window=6, engine="incremental")
    expected = occlusion(net, image(2), target=0, window=6, engine="dense").values
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-6)
    assert found.provenance.measured["engine"] == "incremental", found.provenance.notes


def test_what_changes_without_the_weights_is_planned_again_at_the_next_call(net: nn.Module) -> None:
    net[5] = nn.LeakyReLU(0.1)
    occlusion(net, image(), target=0, window=6, engine="incremental")
    net[5].negative_slope = 0.9
    expected = occlusion(net, image(), target=0, window=6, engine="dense").values
    for engine in ("dense", "incremental"):
        found = occlusion(net, image(), target=0, window=6, engine="incremental")
        assert found.provenance.measured["engine"] == engine
        np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-6)


def test_networks_that_cannot_be_taken_apart_are_not_kept(capfd: pytest.CaptureFixture[str]) -> None:
    branching = Branching()
    gone = weakref.ref(branching)
    for _ in range(2):
        note = occlusion(branching, image(), target=0, window=6, engine="incremental").provenance.notes[0]
    assert "branches on values" in note
    del branching
    gc.collect()
    assert gone() is None
    assert capfd.readouterr() == ("", "")


def test_threads_can_share_a_network(net: nn.Module) -> None:
    expected = occlusion(net, image(), target=0, window=6, engine="dense").values

    def run(_: int) -> np.ndarray:
        return occlusion(net, image(), target=0, window=6, engine="incremental").values

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(run, range(8)):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("engine", ["auto", "dense"])
def test_what_is_done_unseen_with_a_convolution_is_not_fused_away(engine: Any) -> None:
    """A transform of torch.func runs below the functions that are watched, as TorchScript does."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maps = self.conv(x)
            rectified = maps.relu()
            return self.head((rectified + torch.func.vmap(torch.sin)(maps)).mean((2, 3)))

    net, x = Net().eval(), image()
    found = occlusion(net, x, target=1, window=SIZE, stride=SIZE, baseline=0.0, engine=engine)
    with torch.no_grad():
        drop = (net(x) - net(torch.zeros_like(x)))[0, 1]
    assert_close(torch.from_numpy(found.values), drop.expand(1, *SIZE), rtol=1e-3, atol=1e-6)
