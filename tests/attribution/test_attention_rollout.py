"""Attention rollout: by hand from the weights, for the ways in which attention is written."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from tests.conftest import tiny_network, tiny_transformer
from torch import nn

from convscope import ModelError, Several, attention_rollout


def rolled_out(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """From queries and keys of a timm transformer with fused attention, layer by layer."""
    tokens, found = net._pos_embed(net.patch_embed(x)), []
    for block in net.blocks:
        qkv = block.attn.qkv(block.norm1(tokens)).reshape(len(x), 17, 3, 2, 4).permute(2, 0, 3, 1, 4)
        weights = (qkv[0] @ qkv[1].transpose(-1, -2) / 4**0.5).softmax(dim=-1)
        found.append(weights.mean(dim=1))
        tokens = block(tokens)
    identity = torch.eye(17)
    return (found[1] / 2 + identity / 2) @ (found[0] / 2 + identity / 2)


@pytest.mark.parametrize("is_fused", [True, False])
def test_it_is_the_formula(is_fused: bool) -> None:
    net, x = tiny_transformer(), torch.randn(3, 3, 16, 16)
    for block in net.blocks:
        block.attn.fused_attn = is_fused
    with torch.no_grad():
        expected = rolled_out(net, x)[:, 0, 1:].reshape(3, 1, 4, 4)
        large = nn.functional.interpolate(expected, (16, 16), mode="bilinear")[:, 0]
    found = attention_rollout(net, x, target=0)
    np.testing.assert_allclose(found.values, large.numpy(), rtol=0, atol=1e-6)
    assert not found.signed


def test_attention_of_torch_itself_counts_too() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, 4)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.patches(x).flatten(2).transpose(1, 2)
            return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(dim=1))

    net, x = Small().eval(), torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        tokens = net.patches(x).flatten(2).transpose(1, 2)
        weights = net.attention(tokens, tokens, tokens)[1]
        expected = (weights / 2 + torch.eye(16) / 2).mean(dim=1).reshape(2, 1, 4, 4)  # no class token: all rows
        large = nn.functional.interpolate(expected, (16, 16), mode="bilinear")[:, 0]
    np.testing.assert_allclose(attention_rollout(net, x, target=0).values, large.numpy(), rtol=0, atol=1e-6)


def test_every_target_has_the_same_map() -> None:
    found = attention_rollout(tiny_transformer(), torch.randn(1, 3, 16, 16), target=Several(0, 1))
    np.testing.assert_array_equal(found.values[0], found.values[1])


@pytest.mark.slow
def test_windowed_attention_is_refused() -> None:
    with pytest.raises(ModelError, match="no attention among all patches in every layer"):
        attention_rollout(timm.create_model("swin_tiny_patch4_window7_224"), torch.randn(1, 3, 224, 224), target=0)


def test_a_network_without_attention_is_refused() -> None:
    with pytest.raises(ModelError, match="no attention"):
        attention_rollout(tiny_network(), torch.randn(1, 3, 16, 16), target=0)
