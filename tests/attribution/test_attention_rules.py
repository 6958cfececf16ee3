"""LRP through attention: the rules of AttnLRP number by number, and the same however attention is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convscope import deep_lift, lrp

EPSILON = 1e-6
Product = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def by_function(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def by_matrices(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, dim=-1) @ v


def by_einsum(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    scores = torch.einsum("ntd,nsd->nts", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("nts,nsd->ntd", [scores.softmax(-1), v])


def by_batches(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    scores = torch.baddbmm(torch.zeros(1), q * q.shape[-1] ** -0.5, k.mT)
    return torch.bmm(F.softmax(scores, dim=-1), v)


class Attention(nn.Module):
    """One attention among the pixels of an image, and a classifier of the mean token; no biases."""

    def __init__(self, product: Product = by_function) -> None:
        super().__init__()
        self.product = product
        self.q, self.k, self.v, self.out = (nn.Linear(4, 4, bias=False) for _ in range(4))
        self.head = nn.Linear(4, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).mT
        mixed = self.product(self.q(tokens), self.k(tokens), self.v(tokens))
        return self.head(self.out(mixed).mean(dim=1))


class MultiHead(nn.Module):
    """The same by PyTorch's module."""

    def __init__(self, net: Attention, need_weights: bool) -> None:
        super().__init__()
        self.attention, self.need_weights = nn.MultiheadAttention(4, 1, bias=False, batch_first=True), need_weights
        self.attention.in_proj_weight.data = torch.cat([net.q.weight, net.k.weight, net.v.weight]).data
        self.attention.out_proj.weight.data = net.out.weight.data
        self.head = net.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).mT
        return self.head(self.attention(tokens, tokens, tokens, need_weights=self.need_weights)[0].mean(dim=1))


def stabilized(z: np.ndarray) -> np.ndarray:
    return z + np.where(z < 0, -EPSILON, EPSILON)


def through_linear(x: np.ndarray, w: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """The epsilon rule, for tokens x (T, I) and weights (O, I)."""
    parts = x[:, None, :] * w[None]  # (T, O, I)
    return (parts / stabilized(parts.sum(2, keepdims=True)) * relevance[:, :, None]).sum(1)


def through_product(a: np.ndarray, b: np.ndarray, relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of O = a b: R(a_ti) = sum over p of a_ti b_ip R_tp / (2 O_tp + epsilon), and for b likewise."""
    parts = a[:, :, None] * b[None]  # (t, i, p)
    shares = parts / stabilized(2 * parts.sum(1, keepdims=True)) * relevance[:, None, :]
    return shares.sum(2), shares.sum(0)


def attn_lrp(net: Attention, x: torch.Tensor, target: int) -> np.ndarray:
    """By equations 13 to 16 of the paper, number by number, in float64."""
    q_w, k_w, v_w, out_w, head_w = (
        layer.weight.detach().double().numpy() for layer in (net.q, net.k, net.v, net.out, net.head)
    )
    tokens = x[0].flatten(1).T.double().numpy()
    q, k, v = tokens @ q_w.T, tokens @ k_w.T, tokens @ v_w.T
    logits = q / 2 @ k.T
    weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    mixed = weights @ v
    out = mixed @ out_w.T
    score = out.mean(0) @ head_w[target]
    of_out = out / len(out) * head_w[target] / score * score
    of_mixed = through_linear(mixed, out_w, of_out)
    of_weights, of_v = through_product(weights, v, of_mixed)
    of_logits = logits * (of_weights - weights * of_weights.sum(1, keepdims=True))
    of_q, of_k = through_product(q / 2, k.T, of_logits)
    return sum(through_linear(tokens, w, of_one) for w, of_one in ((q_w, of_q), (k_w, of_k.T), (v_w, of_v))).sum(1)


@pytest.mark.parametrize("product", [by_function, by_matrices, by_einsum, by_batches])
def test_attention_is_by_the_rules_of_the_paper(product: Product) -> None:
    net, x = Attention(product), 2 * torch.randn(1, 4, 3, 3)
    found = lrp(net, x, target=1, rule="epsilon")
    expected = attn_lrp(net, x, 1).reshape(3, 3)
    np.testing.assert_allclose(found.values[0], expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert not [note for note in found.provenance.notes if "no rule" in note]


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("rule", ["composite", "epsilon"])
def test_the_module_of_pytorch_gives_the_same(need_weights: bool, rule: Any) -> None:
    net, x = Attention(), torch.randn(2, 4, 3, 3)
    expected = lrp(net, x, target=1, rule=rule).values
    found = lrp(MultiHead(net, need_weights), x, target=1, rule=rule)
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert not [note for note in found.provenance.notes if "no rule" in note]


def masked(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    choice = torch.ones(9, 9).tril().bool()
    return torch.softmax((q @ k.mT / 2).masked_fill(~choice, -torch.inf), -1) @ v


@pytest.mark.parametrize(
    "options",
    [
        {"is_causal": True},
        {"attn_mask": torch.ones(9, 9).tril().bool()},
        {"attn_mask": torch.zeros(9, 9).masked_fill(torch.ones(9, 9).triu(1).bool(), -torch.inf)},
        {"is_causal": True, "scale": 0.5},
    ],
)
def test_masks_and_scales_count(options: dict[str, Any]) -> None:
    net, x = Attention(masked), torch.randn(1, 4, 3, 3)
    expected = lrp(net, x, target=0).values
    net.product = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options)
    np.testing.assert_allclose(lrp(net, x, target=0).values, expected, rtol=0, atol=1e-6)


def test_grouped_queries_share_their_keys() -> None:
    net, x = Attention(), torch.randn(1, 4, 3, 3)

    def grouped(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        heads, k, v = q.unflatten(-1, (2, 2)).transpose(1, 2), k[:, None, :, :2], v[:, None, :, :2]
        return F.scaled_dot_product_attention(heads, k, v, enable_gqa=True).transpose(1, 2).flatten(2)

    def repeated(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        heads = (by_matrices(q[..., i : i + 2], k[..., :2], v[..., :2]) for i in (0, 2))
        return torch.cat([*heads], dim=-1)

    net.product = repeated
    expected = lrp(net, x, target=0).values
    net.product = grouped
    np.testing.assert_allclose(lrp(net, x, target=0).values, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "product",
    [
        lambda a, b: a.mT @ b,
        lambda a, b: torch.matmul(a.mT, other=b),
        lambda a, b: torch.bmm(a.mT, b),
        lambda a, b: torch.einsum("nct,ncs->nts", a, b),
        lambda a, b: torch.mm(a[0].T, b[0])[None],
    ],
)
def test_a_product_of_matrices_hands_everything_on(product: Any) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = (nn.Conv2d(3, 4, 1, bias=False) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            both = product(self.one(x).flatten(2), self.other(x).flatten(2))
            return both.flatten(1)[:, :2]

    found = lrp(Net(), torch.randn(1, 3, 2, 2), target=1, rule="epsilon")
    np.testing.assert_allclose(found.values.sum((1, 2)), found.scores, rtol=1e-3)


def test_an_rms_norm_hands_everything_on() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 6, 3, bias=False), nn.RMSNorm(6)
            self.last = nn.Linear(6, 2, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))

    found = lrp(Net(), torch.randn(1, 3, 8, 8), target=0)
    assert max(found.provenance.measured["completeness_error"]) < 1e-3
    assert found.provenance.notes == ()


def test_deep_lift_still_says_that_it_has_no_rule() -> None:
    notes = deep_lift(Attention(), torch.randn(1, 4, 3, 3), target=0).provenance.notes
    assert "scaled_dot_product_attention has no rule of its own: its plain gradient was taken" in notes
