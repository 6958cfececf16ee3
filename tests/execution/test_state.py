"""Networks that keep something from run to run are left as they were, and can be trained on afterwards."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import convscope as cs
from convscope.execution import evaluating


class Keeping(nn.Module):
    """Does ``change`` to itself whenever it runs; what it puts out does not depend on that."""

    def __init__(self, change: Callable[[Keeping, torch.Tensor], None]) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.register_buffer("count", torch.zeros(2))
        self.cached: torch.Tensor | None = None
        self.plain = torch.ones(3)
        self.list: list[object] = [1]
        self.nested: dict[str, list[object]] = {"a": []}
        self.recent: deque[object] = deque(maxlen=2)
        self.names = {"x"}
        self.generator = torch.Generator().manual_seed(1)
        self.numpy = np.random.default_rng(1)
        self.change = change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.conv(x).relu().mean((2, 3))
        self.change(self, features)
        return self.fc(features)


def set_new(net: Keeping, _: torch.Tensor) -> None:
    net.added = 1


def set_buffer(net: Keeping, _: torch.Tensor) -> None:
    net.count = net.count + 1


def by_data(net: Keeping, _: torch.Tensor) -> None:
    net.count.data.add_(1)


CHANGES: dict[str, Callable[[Keeping, torch.Tensor], object]] = {
    "a cached tensor": lambda net, f: setattr(net, "cached", f),
    "a new attribute": set_new,
    "an attribute that goes": lambda net, f: net.__dict__.pop("plain", None),
    "a buffer in place": lambda net, f: net.count.add_(1),
    "a buffer by its data": by_data,
    "a buffer set anew": set_buffer,
    "a plain tensor in place": lambda net, f: net.plain.mul_(2),
    "a list": lambda net, f: net.list.append(f),
    "a list in a dict": lambda net, f: net.nested["a"].append(f),
    "a deque": lambda net, f: net.recent.append(f),
    "a set": lambda net, f: net.names.add("y"),
    "a generator of torch": lambda net, f: torch.rand(1, generator=net.generator),
    "a generator of numpy": lambda net, f: net.numpy.random(),
    "everybody's torch": lambda net, f: torch.rand(1),
    "everybody's numpy": lambda net, f: np.random.rand(),  # noqa: NPY002
    "everybody's random": lambda net, f: random.random(),
}


def snapshot(net: Keeping) -> dict[str, object]:
    return {
        "attributes": {name: id(value) for name, value in vars(net).items() if name != "training"},
        "buffers": {name: (id(b), b.tolist()) for name, b in net._buffers.items()},
        "plain": net.plain.tolist() if hasattr(net, "plain") else None,
        "list": list(net.list),
        "nested": {name: list(values) for name, values in net.nested.items()},
        "recent": list(net.recent),
        "names": set(net.names),
        "generators": (net.generator.get_state().tolist(), str(net.numpy.bit_generator.state)),
        "global": (
            torch.get_rng_state().tolist(),
            [str(part) if i != 1 else part.tolist() for i, part in enumerate(np.random.get_state())],  # noqa: NPY002
            random.getstate(),
        ),
    }


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_run_changes_is_put_back(change: str) -> None:
    net, x = Keeping(CHANGES[change]).train(), torch.randn(2, 3, 8, 8)
    before = snapshot(net)
    with evaluating(net):
        net(x)
        assert snapshot(net) != before
    assert snapshot(net) == before
    assert net.training


@pytest.mark.parametrize("change", ["a cached tensor", "a list", "a buffer set anew"])
@pytest.mark.parametrize("method", ["saliency", "grad_cam", "occlusion", "lrp"])
def test_methods_leave_it_so_that_it_can_be_trained(change: str, method: str) -> None:
    net, x = Keeping(CHANGES[change]), torch.randn(2, 3, 8, 8)
    before = snapshot(net)
    options = {"window": 4} if method == "occlusion" else {}
    cs.Model(net).predict(x)
    getattr(cs, method)(net, x, target=1, **options)
    assert snapshot(net) == before
    net(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


def test_a_mask_that_is_cached_by_size_serves_all_batches_and_the_user() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 3)
            self.mask: torch.Tensor | None = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            features = self.conv(x).relu()
            if self.mask is None or len(self.mask) != len(x):
                self.mask = torch.ones(len(x), 1, 1, 1)
            return self.fc((features * self.mask).mean((2, 3)))

    net, x = Net(), torch.randn(7, 3, 16, 16)
    scores = cs.Model(net).predict(x).scores
    assert_close(torch.from_numpy(scores), net(x).detach(), rtol=0, atol=1e-6)
    assert cs.saliency(net, x, target=1).values.shape == (7, 16, 16)
    assert len(net.mask) == 7
    net(x).sum().backward()


def test_a_network_whose_output_hangs_on_its_runs_begins_each_in_the_state_it_was_given_in() -> None:
    class Drifting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
            self.register_buffer("runs", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.runs += 1
            return self.fc(self.conv(x).relu().mean((2, 3))) * self.runs

    net, x = Drifting(), torch.randn(3, 3, 12, 12)
    with torch.no_grad():
        expected = net(x)
        net.runs.zero_()
    prediction = cs.Model(net).predict(x)
    assert_close(torch.from_numpy(prediction.scores), expected, rtol=0, atol=1e-6)
    assert any("depends on earlier runs" in note for note in prediction.provenance.notes)
    found = cs.occlusion(net, x, target=1, window=6, stride=3)
    one_by_one = np.concatenate(
        [cs.occlusion(net, x[i : i + 1], target=1, window=6, stride=3).values for i in range(3)]
    )
    np.testing.assert_allclose(found.values, one_by_one, rtol=0, atol=1e-6)
    assert net.runs == 0
