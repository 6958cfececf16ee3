"""Gradient-weighted attention: by its definition, from networks whose attention is written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.conftest import tiny_network, tiny_transformer
from torch import nn
from torch.nn import functional as F

from convscope import ModelError, Several, attention_gradient


def mixed_by_hand(weights: torch.Tensor, v: torch.Tensor, kept: list[torch.Tensor]) -> torch.Tensor:
    kept.append(weights)
    weights.retain_grad()
    return (weights @ v).transpose(1, 2).flatten(2)


def flow_by_hand(kept: list[torch.Tensor], n_tokens: int) -> torch.Tensor:
    """R = R + A R, as equations 5 and 6 of the paper have it, for one image, head by head."""
    flow = torch.eye(n_tokens)
    for weights in kept:
        heads = [(g * a).clamp(min=0) for g, a in zip(weights.grad[0], weights.detach()[0], strict=True)]
        flow = flow + sum(heads) / len(heads) @ flow
    return flow


def of_timm(net: nn.Module, x: torch.Tensor, target: int) -> torch.Tensor:
    tokens, kept = net._pos_embed(net.patch_embed(x)), []
    for block in net.blocks:
        qkv = block.attn.qkv(block.norm1(tokens)).reshape(1, 17, 3, 2, 4).permute(2, 0, 3, 1, 4)
        weights = (qkv[0] @ qkv[1].transpose(-1, -2) / 4**0.5).softmax(dim=-1)
        tokens = tokens + block.attn.proj(mixed_by_hand(weights, qkv[2], kept))
        tokens = tokens + block.mlp(block.norm2(tokens))
    net.head(net.norm(tokens)[:, 0])[0, target].backward()
    return flow_by_hand(kept, 17)[0, 1:].reshape(1, 1, 4, 4)


def enlarged(maps: torch.Tensor) -> np.ndarray:
    return F.interpolate(maps, (16, 16), mode="bilinear")[:, 0].numpy()


@pytest.mark.parametrize("is_fused", [True, False])
def test_it_is_the_formula(is_fused: bool) -> None:
    net, x = tiny_transformer(), torch.randn(2, 3, 16, 16)
    for block in net.blocks:
        block.attn.fused_attn = is_fused
    rows = zip(x, (2, 0), strict=True)
    expected = np.concatenate([enlarged(of_timm(net, row[None], target)) for row, target in rows])
    found = attention_gradient(net, x, target=[2, 0])
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-5 * expected.max())
    assert found.values.max() > 0
    assert not found.signed


def test_attention_of_torch_itself_counts_too_and_without_a_class_token_all_rows_do() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, 4)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.patches(x).flatten(2).transpose(1, 2)
            return self.head(self.attention(tokens, tokens, tokens)[0].mean(dim=1))

    net, x, kept = Small().eval(), torch.randn(1, 3, 16, 16), []
    tokens = net.patches(x).flatten(2).transpose(1, 2)
    inside = F.linear(tokens, net.attention.in_proj_weight, net.attention.in_proj_bias)
    q, k, v = inside.reshape(1, 16, 3, 2, 4).permute(2, 0, 3, 1, 4)
    mixed = mixed_by_hand((q @ k.mT / 2).softmax(dim=-1), v, kept)
    net.head(net.attention.out_proj(mixed).mean(dim=1))[0, 1].backward()
    expected = enlarged((flow_by_hand(kept, 16) - torch.eye(16)).mean(dim=0).reshape(1, 1, 4, 4))
    found = attention_gradient(net, x, target=1)
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-5 * expected.max())


def test_every_target_has_a_map_of_its_own() -> None:
    net, x = tiny_transformer(), torch.randn(1, 3, 16, 16)
    found = attention_gradient(net, x, target=Several(0, 1))
    for place, target in enumerate((0, 1)):
        np.testing.assert_allclose(
            found.values[place], attention_gradient(net, x, target=target).values[0], rtol=0, atol=1e-6
        )
    assert np.abs(found.values[0] - found.values[1]).max() > 0.01 * found.values.max()


def test_an_attention_that_the_score_does_not_depend_on_adds_nothing() -> None:
    net, x = tiny_transformer(), torch.randn(1, 3, 16, 16)
    expected = attention_gradient(net, x, target=0).values
    net.blocks[1].attn.proj.weight.data.zero_()
    alone = attention_gradient(net, x, target=0).values
    net.blocks = net.blocks[:1]
    np.testing.assert_allclose(alone[0] > 0, attention_gradient(net, x, target=0).values[0] > 0)
    assert not np.allclose(alone, expected)


def test_a_network_without_attention_is_refused() -> None:
    with pytest.raises(ModelError, match="no attention among all patches in every layer, which maps of"):
        attention_gradient(tiny_network(), torch.randn(1, 3, 16, 16), target=0)
