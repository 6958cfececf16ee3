"""What is set around a call, and who else uses the network: maps are the same, or an error says why not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode

import convscope
from convscope import Model, ModelError

from .interrupting import tiny

X = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(2))
X1 = X[:1].clone()
CALLS: dict[str, Callable[[nn.Module], Any]] = {
    "predict": lambda net: Model(net).predict(X).scores,
    "pixels": lambda net: (
        (
            Model(net, input_size=(20, 20), mean=[0.5] * 3, std=[0.2] * 3).predict(
                np.full((20, 20, 3), 77, np.uint8)
            )
        ).scores
    ),
    "saliency": lambda net: convscope.saliency(net, X, target=0).values,
    "noise": lambda net: convscope.smoothgrad(net, X, target=0, n_samples=3).values,
    "occlusion": lambda net: convscope.occlusion(net, X, target=0, window=(8, 8), stride=(4, 4)).values,
    "lime": lambda net: convscope.lime(net, X1, target=0, n_samples=40).values,
    "rise": lambda net: convscope.rise(net, X1, target=0, n_masks=20).values,
    "embed": lambda net: convscope.embed(net, X).vectors,
    "visualize": lambda net: convscope.visualize(net, target=0, n_steps=2, size_px=20).input,
}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Passing(TorchFunctionMode):
    """Changes nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


AROUND: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": lambda: torch.set_grad_enabled(False),
    "a function mode": Passing,
    "another device by default": lambda: torch.device("meta"),  # which no number could come back from
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("call", CALLS)
def test_a_result_is_the_same_whatever_is_set_around_the_call(call: str, around: str) -> None:
    expected = CALLS[call](tiny())
    net = tiny()
    with AROUND[around]():
        found = CALLS[call](net)
        assert torch.is_autocast_enabled("cpu") == (around == "autocast")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("call", CALLS)
def test_where_tensors_have_no_values_it_is_said(call: str) -> None:
    net = tiny()
    with FakeTensorMode(), pytest.raises(ModelError, match="no values"):
        CALLS[call](net)


@pytest.mark.parametrize("call", CALLS)
def test_a_network_without_values_is_refused(call: str) -> None:
    with pytest.raises(ModelError, match="meta device"):
        CALLS[call](tiny().to("meta"))


def test_a_transform_of_functions_is_refused() -> None:
    net = tiny()
    with pytest.raises(ModelError, match=r"torch\.func"):
        torch.func.vmap(lambda x: Model(net).predict(x[None]).scores)(X)


@pytest.mark.parametrize("wrap", [nn.utils.parametrizations.spectral_norm, nn.utils.parametrizations.weight_norm])
def test_reparametrized_weights_stay_as_they_are(wrap: Callable[[nn.Module], nn.Module]) -> None:
    net = tiny()
    wrap(net[3])
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    scores = Model(net).predict(X).scores
    convscope.saliency(net, X, target=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    with torch.no_grad():
        np.testing.assert_allclose(scores, net.eval()(X).numpy(), atol=1e-5)


# --- trained meanwhile ---------------------------------------------------------------------------------------


def step(net: nn.Module) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.01)


@pytest.mark.parametrize("call", ["predict", "saliency", "occlusion", "visualize", "feature_maps"])
def test_a_network_that_is_trained_meanwhile_is_refused(call: str) -> None:
    net = tiny()
    other = threading.Thread(target=step, args=(net,))

    def progress(*_: object) -> None:
        if not other.ident:
            other.start()
            other.join()

    options: dict[str, dict[str, Any]] = {
        "saliency": {"target": 0},
        "occlusion": {"target": 0, "window": (10, 10), "stride": (10, 10)},
        "visualize": {"target": 0, "n_steps": 3, "size_px": 20},
    }
    images = () if call == "visualize" else (X,)
    method = Model.predict if call == "predict" else getattr(convscope, call)
    method(Model(net), *images, **options.get(call, {}))  # nobody trains it: nothing to say
    with pytest.raises(ModelError, match="have changed during this call"):
        method(Model(net), *images, **options.get(call, {}), progress=progress)


def test_between_two_calls_it_may_be_trained() -> None:
    net = tiny()
    first = convscope.saliency(net, X, target=0).values
    step(net)
    assert not np.array_equal(convscope.saliency(net, X, target=0).values, first)
