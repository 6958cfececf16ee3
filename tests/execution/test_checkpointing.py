"""Blocks that save memory by running twice give the gradients that they give without."""

from __future__ import annotations

import threading

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close
from torch.utils import checkpoint as torch_checkpoint
from torch.utils.checkpoint import checkpoint

import convscope as cs
from convscope.execution.checkpointing import uncheckpointed


class Blocks(nn.Module):
    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.first, self.reentrant = nn.Conv2d(3, 8, 3), reentrant
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        plain = self.reentrant is None
        x = self.block(x) if plain else checkpoint(self.block, x, use_reentrant=self.reentrant)
        return self.fc(x.mean((2, 3)))


METHODS = {
    "saliency": {}, "integrated_gradients": {"n_steps": 4}, "smoothgrad": {"n_samples": 3}, "lrp": {},
    "deep_lift": {}, "guided_backprop": {}, "deconvnet": {}, "grad_cam": {"kind": "signed"}, "guided_grad_cam": {},
}  # fmt: skip


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_methods_give_what_they_give_without(method: str, reentrant: bool) -> None:
    plain, x = Blocks(None).eval(), torch.randn(2, 3, 12, 12)
    checked = Blocks(reentrant).eval()
    checked.load_state_dict(plain.state_dict())
    found, expected = (getattr(cs, method)(net, x, target=1, **METHODS[method]) for net in (checked, plain))
    assert expected.values.any()
    assert_close(found.values, expected.values, rtol=0, atol=1e-6)


def test_torchvisions_densenet() -> None:
    net = torchvision.models.DenseNet(8, (2, 2), 16, memory_efficient=True).eval()
    x = torch.randn(1, 3, 64, 64)
    found = cs.saliency(net, x, target=1, kind="signed")
    leaf = x.clone().requires_grad_()
    net(leaf)[0, 1].backward()
    assert_close(torch.from_numpy(found.values[0]), leaf.grad[0].sum(0), rtol=1e-4, atol=1e-5)


def test_training_elsewhere_keeps_its_checkpoints() -> None:
    originals = dict(vars(torch_checkpoint))
    net, x, runs = Blocks(True).eval(), torch.randn(1, 3, 12, 12), []
    net.block.register_forward_hook(lambda *_: runs.append(threading.current_thread().name))

    def train() -> None:
        net(x.clone().requires_grad_()).sum().backward()

    with uncheckpointed(), uncheckpointed():
        thread = threading.Thread(target=train, name="training")
        thread.start()
        thread.join()
        assert runs == ["training"] * 2  # forward, and again for the backward pass
        train()
        assert runs[2:] == ["MainThread"]
    assert dict(vars(torch_checkpoint)) == originals
    train()
    assert runs[3:] == ["MainThread"] * 2
