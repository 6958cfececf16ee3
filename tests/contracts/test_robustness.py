"""Inputs at the edge: every method gives a result or a clear error, and keeps no memory."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import tiny_network
from tests.contracts.test_attributions import FOR_CONVOLUTIONS, METHODS, Method, network_for, run
from torch import nn

from convscope import LayerError, ModelError, ParameterError, compare, evaluate, mask_study, saliency, sanity_check

# At these sizes, options small enough for a test; the others keep their defaults.
LARGE: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 2},
    "kernel_shap": {"n_samples": 8, "superpixel": 256},
    "lime": {"n_samples": 8, "superpixel": 256},
    "occlusion": {"window": 256, "stride": 256},
    "rise": {"n_masks": 4},
    "smoothgrad": {"n_samples": 2},
    "vargrad": {"n_samples": 2},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_image_that_is_the_same_everywhere_gives_a_finite_map(method: Method, value: float) -> None:
    found = run(method, network_for(method), torch.full((2, 3, 16, 16), value))
    assert found.values.shape == (2, 16, 16)
    assert np.isfinite(found.values).all()


@pytest.mark.parametrize("method", FOR_CONVOLUTIONS)
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_a_network_of_one_class_can_be_explained(method: Method, score: str) -> None:
    found = run(method, tiny_network(n_classes=1), torch.randn(1, 3, 16, 16), score=score)
    assert found.targets == ("class 0",)
    assert np.isfinite(found.values).all()


@pytest.mark.parametrize("method", FOR_CONVOLUTIONS)
@pytest.mark.parametrize("bias", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_an_error_that_names_the_image(method: Method, bias: float) -> None:
    net = tiny_network()
    with torch.no_grad():
        net[-1].bias[:] = bias
    with pytest.raises(ModelError, match=r"image 0: the network's score is (nan|inf)"):
        run(method, net, torch.randn(1, 3, 16, 16), target=0)


@pytest.mark.parametrize("method", FOR_CONVOLUTIONS)
def test_a_saturated_probability_gives_a_finite_map(method: Method) -> None:
    net = tiny_network()
    with torch.no_grad():
        net[-1].bias[:] = torch.tensor([1e4, 0.0, 0.0])
    found = run(method, net, torch.randn(1, 3, 16, 16), target=0, score="probability")
    assert np.isfinite(found.values).all()


@pytest.mark.parametrize("method", FOR_CONVOLUTIONS)
def test_maps_of_one_place_give_a_result_or_say_that_there_is_no_map(method: Method) -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    if "cam" in method.__name__:
        with pytest.raises(LayerError, match="no feature map of more than one value"):
            run(method, net, torch.randn(1, 3, 16, 16))
    else:
        assert run(method, net, torch.randn(1, 3, 16, 16)).values.shape == (1, 16, 16)


@pytest.mark.parametrize("method", FOR_CONVOLUTIONS)
def test_an_image_of_one_pixel_gives_a_result_or_says_that_there_is_no_map(method: Method) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    if "cam" in method.__name__:
        with pytest.raises(LayerError, match="no feature map of more than one value"):
            method(net, torch.randn(1, 3, 1, 1))
    elif method.__name__ == "rise":
        with pytest.raises(ParameterError, match="cells=7: more than the pixels"):
            method(net, torch.randn(1, 3, 1, 1))
    else:
        assert method(net, torch.randn(1, 3, 1, 1)).values.shape == (1, 1, 1)


@pytest.mark.parametrize("method", FOR_CONVOLUTIONS)
@pytest.mark.parametrize("side", [32, 512])
@pytest.mark.slow
def test_small_and_large_images(method: Method, side: int) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3, stride=4), nn.ReLU(), nn.Conv2d(2, 2, 3, stride=4), nn.ReLU(),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))  # fmt: skip
    options = LARGE.get(method.__name__, {}) if side > 32 else {}
    found = method(net, torch.randn(1, 3, side, side), **options)
    assert found.values.shape == (1, side, side)
    assert np.isfinite(found.values).all()


@pytest.mark.parametrize("method", METHODS)
def test_calls_leave_nothing_behind(method: Method) -> None:
    """Neither tensors, nor other objects, nor the arrays of results: no allocator has a say in their number."""
    net, x = network_for(method), torch.randn(1, 3, 16, 16)
    small = {name: 4 for name in ("n_masks", "n_samples") if name in _options(method)}
    arrays: list[weakref.ref[np.ndarray]] = []

    def calls(n: int) -> tuple[int, int]:
        for _ in range(n):
            found = method(net, x, target=0, **(small or _options(method)))
            arrays.extend(weakref.ref(array) for array in (found.values, found.images, found.scores))
        del found
        gc.collect()
        assert not any(array() is not None for array in arrays)
        arrays.clear()
        objects = gc.get_objects()
        return sum(issubclass(type(o), torch.Tensor) for o in objects), len(objects)

    calls(3)  # what is remembered for good
    gc.freeze()  # and is not looked at any more
    n_tensors, n_objects = calls(3)
    n_tensors_after, n_objects_after = calls(30)
    assert n_tensors_after <= n_tensors
    assert n_objects_after < n_objects + 30  # not one a call


def _options(method: Method) -> dict[str, Any]:
    from tests.contracts.test_attributions import OPTIONS

    return OPTIONS.get(method.__name__, {})


def test_the_evidence_of_a_network_of_one_class_and_of_constant_images() -> None:
    net, x = tiny_network(n_classes=1), torch.zeros(2, 3, 16, 16)
    found = evaluate(net, x, saliency(net, x), n_steps=3)
    assert np.isfinite(found.mean("saliency", "insertion_mean"))
    assert np.isfinite(compare(net, x, ["saliency", "grad_cam"], n_steps=3).advantage).all()
    assert np.isfinite(mask_study(net, x, windows=[4, 8], n_steps=3).advantage).all()
    check = sanity_check(net, x[:1], "grad_cam")
    assert check.label_names == ()
    assert check.passes_labels is None
