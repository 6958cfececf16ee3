"""What every registered attribution method promises, checked for all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import tiny_network, tiny_transformer
from torch import nn

import convscope.attribution
from convscope import ATTRIBUTIONS, Attribution, ImageError, Interrupted, LayerError, ModelError, TargetError
from convscope.models import Model

METHODS = [pytest.param(method, id=name) for name, method in ATTRIBUTIONS.items()]
# These ask nothing about the score: they need other networks, or cannot be zero.
FOR_TRANSFORMERS = ("attention_gradient", "attention_rollout")
FOR_CONVOLUTIONS = [p for p in METHODS if p.id not in FOR_TRANSFORMERS]
ABOUT_SCORES = [p for p in FOR_CONVOLUTIONS if p.id not in ("eigen_cam", "score_cam")]
# On the 16-px images of these tests; every other option is at its default.
OPTIONS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 6},
    "kernel_shap": {"n_samples": 12},
    "lime": {"n_samples": 12},
    "occlusion": {"window": 8, "stride": 8},
    "occlusion_multiscale": {"windows": [8, 16]},
    "rise": {"n_masks": 12},
    "smoothgrad": {"n_samples": 6},
    "vargrad": {"n_samples": 6},
}

Method = Callable[..., Attribution]


def run(method: Method, *args: Any, **options: Any) -> Attribution:
    return method(*args, **OPTIONS.get(method.__name__, {}), **options)


def network_for(method: Method, n_channels: int = 3) -> nn.Module:
    makes = tiny_transformer if method.__name__ in FOR_TRANSFORMERS else tiny_network
    return makes(n_channels)


@pytest.fixture
def tiny(method: Method) -> Model:
    """A network that the method works on, for 3 classes on 16 x 16 RGB."""
    return Model(network_for(method), input_size=(16, 16), mean=[0.5] * 3, std=[0.25] * 3, labels=["a", "b", "c"])


def test_the_registry_and_the_package_name_the_same_methods() -> None:
    assert set(ATTRIBUTIONS) == set(convscope.attribution.__all__) - {"ATTRIBUTIONS", "channel_relevance"}
    assert len(ATTRIBUTIONS) >= 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_channels", [1, 3, 12])
def test_shape_type_and_finite_values(method: Method, n_channels: int) -> None:
    found = run(method, network_for(method, n_channels), torch.randn(3, n_channels, 16, 16))
    assert found.values.shape == (3, 16, 16)
    assert found.values.dtype == np.float32
    assert np.isfinite(found.values).all()
    assert found.images.shape == (3, 16, 16, 3)
    assert found.scores.shape == (3,)
    assert len(found.targets) == len(found.names) == 3


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_gives_what_its_images_give_one_by_one(method: Method, tiny: Model) -> None:
    x = torch.randn(5, 3, 16, 16)
    together = run(method, tiny, x).values
    alone = np.concatenate([run(method, tiny, x[i : i + 1]).values for i in range(len(x))])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_call_gives_the_same_numbers_and_leaves_random_states_alone(method: Method, tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    before = torch.get_rng_state()
    first, second = run(method, tiny, x), run(method, tiny, x)
    assert np.array_equal(first.values, second.values)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(method: Method, fails: bool) -> None:
    net = network_for(method)
    net.train()
    layers = [m for m in net.modules() if not list(m.children())]
    weights = list(net.parameters())
    layers[2].eval()
    weights[2].requires_grad_(False)
    weights[0].grad = torch.ones_like(weights[0])
    layers[1].register_forward_hook(lambda *_: None)
    x = torch.randn(1, 3, 16, 16)
    given = x.clone()

    def target(output: torch.Tensor) -> torch.Tensor:
        if fails:
            raise RuntimeError("a target that fails")
        return output[:, 0]

    def state() -> Any:
        return (
            [(m.training, list(m._forward_hooks), list(m._forward_pre_hooks)) for m in net.modules()],
            [(p.requires_grad, None if p.grad is None else p.grad.sum().item()) for p in net.parameters()],
            {k: v.sum().item() for k, v in net.state_dict().items()},
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
        )

    before = state()
    if fails:
        with pytest.raises(RuntimeError, match="a target that fails"):
            run(method, net, x, target=target)
    else:
        run(method, net, x, target=target)
    assert state() == before
    assert torch.equal(x, given)
    assert not x.requires_grad


@pytest.mark.parametrize("method", FOR_CONVOLUTIONS)
def test_threads_may_share_a_network_in_training_mode(method: Method) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 196, 3)
    ).train()
    x = torch.randn(2, 3, 16, 16)
    expected = run(method, net, x, target=0).values
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: run(method, net, x, target=0).values, range(24)))
    for values in found:
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    assert int(net[1].num_batches_tracked) == 0


@pytest.mark.parametrize("method", METHODS)
def test_targets_by_index_label_list_and_callable_agree(method: Method, tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    expected = run(method, tiny, x, target=1)
    assert expected.targets == ("b", "b")
    for target in ("b", "B", [1, "b"], np.int64(1), np.array([1, 1]), torch.tensor([1, 1]), lambda out: out[:, 1]):
        np.testing.assert_allclose(run(method, tiny, x, target=target).values, expected.values, rtol=0, atol=1e-6)
    predicted = tiny.module(x).argmax(1).tolist()
    assert run(method, tiny, x).targets == tuple("abc"[i] for i in predicted)


@pytest.mark.parametrize("method", METHODS)
def test_no_image_moves_the_targets_of_the_others(method: Method, tiny: Model, tmp_path: Any) -> None:
    """A list of targets belongs to the images as they were given, also where one cannot be read."""
    from PIL import Image

    for i in range(3):
        Image.fromarray(np.full((16, 16, 3), 80 * i, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"not an image")
    found = run(method, tiny, tmp_path, target=[0, 1, 2])
    assert found.targets == ("a", "c")
    assert len(found.provenance.skipped) == 1
    assert "1.png" in found.provenance.skipped[0]


@pytest.mark.parametrize("method", ABOUT_SCORES)
def test_a_zero_map_is_a_result(method: Method) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(2 * 256, 2))
    nn.init.zeros_(net[2].weight)
    found = run(method, net, torch.randn(1, 3, 16, 16), target=0)
    assert not found.values.any()


@pytest.mark.parametrize("method", FOR_CONVOLUTIONS)
def test_a_network_that_begins_in_place_gives_what_its_twin_gives(method: Method) -> None:
    def network(inplace: bool) -> nn.Module:
        net = tiny_network()
        return nn.Sequential(nn.LeakyReLU(0.1, inplace=inplace), net)

    x = torch.randn(2, 3, 16, 16)
    expected, found = run(method, network(False), x), run(method, network(True), x)
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-6)
    assert np.array_equal(found.images, expected.images)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("labels", [["a", "b"], list("abcd")])
def test_labels_of_another_number_are_refused(method: Method, labels: list[str]) -> None:
    model = Model(network_for(method), labels=labels)
    with pytest.raises(ModelError, match=f"{len(labels)} labels for a network with 3 classes"):
        run(method, model, torch.randn(1, 3, 16, 16), target="b")


@pytest.mark.parametrize("method", METHODS)
def test_a_callable_may_take_any_output(method: Method) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network_for(method)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"out": self.net(x)}

    x, named = torch.randn(2, 3, 16, 16), Named()
    found = run(method, named, x, target=lambda output: output["out"][:, 1])
    np.testing.assert_allclose(found.values, run(method, named.net, x, target=1).values, rtol=0, atol=1e-6)
    by_itself, bare = run(method, named, x), run(method, named.net, x)
    np.testing.assert_allclose(by_itself.values, bare.values, rtol=0, atol=1e-6)
    assert by_itself.targets == bare.targets


@pytest.mark.parametrize("method", METHODS)
def test_interrupting_keeps_what_is_finished(method: Method, tiny: Model) -> None:
    def stop(done: int, total: int) -> None:
        if done >= total * 2 / 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        run(method, tiny, torch.randn(24, 3, 16, 16), progress=stop)
    n = len(caught.value.result.values)
    assert 0 < n < 24
    assert caught.value.result.provenance.notes[-1] == f"interrupted after {n} of 24 images"


@pytest.mark.parametrize("method", METHODS)
def test_bad_input_ends_in_a_clear_error(method: Method, tiny: Model) -> None:
    x = torch.zeros(1, 3, 16, 16)
    cases: list[tuple[Any, Any, Any, dict[str, Any]]] = [
        (ImageError, tiny, torch.zeros(3, 16, 16), {}),
        (ImageError, tiny, torch.zeros(1, 4, 16, 16), {}),
        (ModelError, network_for(method), torch.zeros(1, 4, 16, 16), {}),
        (ImageError, tiny, torch.full((1, 3, 16, 16), float("nan")), {}),
        (ImageError, tiny, "no/such/file.png", {}),
        (ImageError, tiny, [], {}),
        (ImageError, network_for(method), np.zeros((16, 16, 3), np.uint8), {}),
        (TargetError, tiny, x, {"target": 3}),
        (TargetError, tiny, x, {"target": "zebra"}),
        (TargetError, tiny, x, {"target": [0, 1]}),
        (TargetError, tiny, x, {"target": lambda out: out.sum()}),
        (TargetError, tiny, x, {"target": (i for i in range(1))}),
        (TargetError, tiny, x, {"target": {1}}),
        (TargetError, tiny, x, {"target": [None]}),
        ((ModelError, LayerError), nn.Conv2d(3, 4, 3), x, {"target": 0}),
        (ModelError, "resnet50", x, {}),
    ]
    for error, model, images, options in cases:
        with pytest.raises(error):
            run(method, model, images, **options)
