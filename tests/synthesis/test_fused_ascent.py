"""The steps of an ascent run on fused operations, and give what the network itself gives."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from convscope import visualize
from convscope.synthesis import objective_network

OPTIONS: dict[str, Any] = {"size_px": 12, "n_steps": 3, "start": "noise", "preset": "plain"}


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    layers[1].running_mean.normal_()
    layers[1].running_var.uniform_(0.5, 2.0)
    return layers.eval()


@pytest.mark.parametrize("layer", [None, "0", "1", "2", "3", "4"])
def test_the_picture_is_that_of_the_network_as_it_is(layer: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = visualize(net(), target=1, layer=layer, **OPTIONS)
    monkeypatch.setattr(objective_network, "fused", lambda *_, **__: nullcontext())
    plain = visualize(net(), target=1, layer=layer, **OPTIONS)
    assert_close(found.scores, plain.scores, rtol=1e-4, atol=1e-5)
    assert_close(found.input, plain.input, rtol=0, atol=1e-3)


def test_operations_that_give_another_score_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = visualize(net(), target=1, **OPTIONS)

    class Wrong(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            return out * 2 if func is torch.nn.functional.linear else out

    monkeypatch.setattr(objective_network, "fused", lambda *_, **__: Wrong())
    assert_close(visualize(net(), target=1, **OPTIONS).scores, plain.scores, rtol=1e-4, atol=1e-5)


def test_a_picture_that_fused_operations_score_otherwise_has_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they may where a network takes another path for some values than for the first picture."""

    class WrongLater(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            return out * 2 if func is torch.nn.functional.conv2d and (args[0] != 0).any() else out

    options: dict[str, Any] = {**OPTIONS, "start": "zero", "layer": "0"}
    assert not visualize(net(), target=1, **options).provenance.notes
    monkeypatch.setattr(objective_network, "fused", lambda *_, **__: WrongLater())
    found = visualize(net(), target=1, **options)
    assert [note for note in found.provenance.notes if "please report this" in note]
    own = net()[0](torch.from_numpy(found.input)[None])[0, 1].mean()
    assert_close(float(found.scores[-1]), float(own.detach()), rtol=1e-4, atol=1e-6)
