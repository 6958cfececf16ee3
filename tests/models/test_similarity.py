"""Networks that end in an embedding, as CLIP's towers do: each method against autograd or hiding by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from convscope import (
    LayerError,
    ParameterError,
    SimilarTo,
    TargetError,
    embed,
    grad_cam,
    neighbors,
    occlusion,
    saliency,
)
from convscope.models import Model


class Tower(nn.Module):
    """Two convolutions, the mean over places, and a projection: by a layer, by a matrix, or to length 1."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.body = nn.Sequential(
                nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
            )
            self.proj = nn.Linear(8, 5, bias=False) if kind != "matrix" else nn.Parameter(torch.randn(8, 5))
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.body(x).mean(dim=(2, 3))
        vectors = pooled @ self.proj if self.kind == "matrix" else self.proj(pooled)
        return functional.normalize(vectors, dim=1) if self.kind == "length 1" else vectors


KINDS = ["layer", "matrix", "length 1"]
TEXT = torch.tensor([0.3, -1.0, 0.2, 0.8, -0.1])


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16)


def cosines(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    vectors = net(x)
    return (vectors * TEXT.to(x)).sum(dim=1) / vectors.norm(dim=1) / TEXT.to(x).norm()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [TEXT, TEXT.numpy(), TEXT.double(), 7 * TEXT])
def test_the_gradient_of_the_similarity_to_a_text_is_autograds(kind: str, text: Any, x: torch.Tensor) -> None:
    net, x = Tower(kind).double(), x.double()
    x.requires_grad_()
    (expected,) = torch.autograd.grad(cosines(net, x).sum(), x)
    found = saliency(net, x.detach(), target=SimilarTo(text), kind="signed")
    scale = float(expected.abs().max())
    assert scale > 1e-4
    assert_close(torch.tensor(found.values), expected.sum(1).float(), rtol=0, atol=1e-5 * scale)
    assert_close(torch.tensor(found.scores), cosines(net, x).detach().float(), rtol=0, atol=1e-6)
    assert found.targets == ("similarity to a vector",) * 2


@pytest.mark.parametrize("kind", KINDS)
def test_occlusion_of_the_similarity_to_a_text_by_hand(kind: str, x: torch.Tensor) -> None:
    net = Tower(kind)
    found = occlusion(net, x, target=SimilarTo(TEXT), window=8, stride=8)
    for top in (0, 8):
        for left in (0, 8):
            hidden = x.clone()
            hidden[:, :, top : top + 8, left : left + 8] = 0
            with torch.no_grad():
                fall = cosines(net, x) - cosines(net, hidden)
            window = found.values[:, top : top + 8, left : left + 8]
            np.testing.assert_allclose(window, fall[:, None, None].expand(2, 8, 8), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_grad_cam_of_the_similarity_to_a_text_by_hand(kind: str, x: torch.Tensor) -> None:
    net, x = Tower(kind).double(), x.double()
    kept: list[torch.Tensor] = []
    handle = net.body.register_forward_hook(lambda *given: kept.append(given[-1]))
    (gradient,) = torch.autograd.grad(cosines(net, x).sum(), kept)
    handle.remove()
    cam = (gradient.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1, keepdim=True).detach()
    cam = functional.interpolate(cam, (16, 16), mode="bilinear")[:, 0]
    found = grad_cam(net, x, target=SimilarTo(TEXT), kind="signed")
    scale = float(cam.abs().max())
    assert scale > 1e-4
    np.testing.assert_allclose(found.values, cam, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_embedded_and_found_by_a_text(kind: str) -> None:
    net, x = Tower(kind), torch.randn(6, 3, 16, 16)
    made = embed(net, x, layer=":output")
    np.testing.assert_allclose(made.vectors, net(x).detach(), rtol=0, atol=1e-5)
    found = neighbors(made, TEXT.numpy(), k=6)
    expected = cosines(net, x).detach().numpy()
    np.testing.assert_allclose(found.scores[0], np.sort(expected)[::-1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(expected[found.indices[0]], found.scores[0], rtol=0, atol=1e-5)
    if kind == "length 1":  # which no classifier does
        np.testing.assert_array_equal(embed(net, x).vectors, made.vectors)


def test_a_network_whose_end_decides_nothing_says_how_to_embed_by_its_output(x: torch.Tensor) -> None:
    with pytest.raises(LayerError, match=r"name a layer\. The last ones: .*:output"):
        embed(Tower("matrix"), x)


def test_the_length_of_a_vector_says_which_layer_it_belongs_to(x: torch.Tensor) -> None:
    net = Tower("layer")
    pooled = net.body(x).mean(dim=(2, 3)).detach()
    own = embed(net, x).vectors  # by default the input of the last linear layer, (2, 8)
    found = saliency(net, x, target=SimilarTo(own[0]))
    assert_close(torch.tensor(found.scores), functional.cosine_similarity(pooled, pooled[:1]), rtol=0, atol=1e-5)
    named = saliency(net, x, target=SimilarTo(own[0], layer="proj:input"))
    np.testing.assert_array_equal(named.values, found.values)


def test_a_vector_that_fits_no_layer_or_two_is_refused(x: torch.Tensor) -> None:
    net = Tower("layer")
    with pytest.raises(TargetError, match=r"7 numbers fits no layer .*'proj:input' has 8 and ':output' has 5"):
        saliency(net, x, target=SimilarTo(np.ones(7)))
    with pytest.raises(TargetError, match=r"vectors of 5 and 8 numbers .* give a vector of that layer"):
        saliency(net, x, target=SimilarTo(np.ones(8), layer=":output"))
    net.proj = nn.Linear(8, 8)
    with pytest.raises(TargetError, match="8 numbers fits both"):
        saliency(net, x, target=SimilarTo(np.ones(8)))
    saliency(net, x, target=SimilarTo(np.ones(8), layer=":output"))
    labeled = Model(net, labels=list("abcdefgh"))  # so that its output holds scores
    found = saliency(labeled, x, target=SimilarTo(np.ones(8)))
    expected = saliency(net, x, target=SimilarTo(np.ones(8), layer="proj:input"))
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize(
    "vector",
    [np.zeros(5), np.array([]), np.array([1, np.nan]), np.array(["a"]), np.array([1j]), np.array([None])],
)
def test_what_is_no_vector_is_refused(vector: Any) -> None:
    with pytest.raises(ParameterError, match="expected a vector of finite numbers"):
        SimilarTo(vector)
