"""Vectors of signals, volumes and several inputs: against the module itself, in memory and in a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import convscope as cs
from convscope import ParameterError
from convscope.render import figure

SIGNAL, VOLUME = (2, 24), (2, 5, 8, 6)
SHAPES = pytest.mark.parametrize("shape", [SIGNAL, VOLUME], ids=["signal", "volume"])


def network(shape: tuple[int, ...]) -> nn.Module:
    convolution, norm = (nn.Conv1d, nn.BatchNorm1d) if len(shape) == 2 else (nn.Conv3d, nn.BatchNorm3d)
    pool = nn.AdaptiveMaxPool1d if len(shape) == 2 else nn.AdaptiveMaxPool3d
    head = [pool(1), nn.Flatten(), nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 3)]
    return nn.Sequential(convolution(shape[0], 6, 3), norm(6), nn.ReLU(), *head).eval()


class Two(nn.Module):
    """Of an image and some numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.join = nn.Linear(4 + 5, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, image: torch.Tensor, meta: torch.Tensor) -> torch.Tensor:
        joined: torch.Tensor = self.head(self.join(torch.cat([self.body(image), meta], dim=1)).tanh())
        return joined


@SHAPES
def test_the_vector_is_what_the_classifier_takes_in(shape: tuple[int, ...]) -> None:
    net, x = network(shape), torch.randn(5, *shape)
    found = cs.embed(net, x)
    with torch.no_grad():
        expected = net[:7](x)
        by_layer = net[:3](x).flatten(2).mean(dim=2)
    assert found.layer == "7:input"
    np.testing.assert_allclose(found.vectors, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(cs.embed(net, x, layer="2").vectors, by_layer, rtol=0, atol=1e-5)
    assert found.names[4] == ("signal 4" if shape is SIGNAL else "volume 4")
    batches = DataLoader(TensorDataset(x, torch.arange(5)), batch_size=2)
    loaded = cs.embed(net, batches)
    np.testing.assert_allclose(loaded.vectors, expected, rtol=0, atol=1e-5)
    assert loaded.names == found.names
    assert loaded.labels == ("0", "1", "2", "3", "4")


@SHAPES
def test_neighbors_are_those_of_scikit_learn(shape: tuple[int, ...]) -> None:
    net, x = network(shape), torch.randn(9, *shape)
    found = cs.embed(net, x)
    nearest = cs.neighbors(found, x[:3], k=4, metric="euclidean")
    vectors = found.vectors.astype(np.float64)
    distances, rows = NearestNeighbors(n_neighbors=4).fit(vectors).kneighbors(vectors[:3])
    np.testing.assert_array_equal(nearest.indices, rows)
    np.testing.assert_allclose(nearest.scores, distances, rtol=0, atol=1e-4)
    figure(nearest)
    figure(cs.project(found, method="pca"))
    if shape is SIGNAL:
        assert found.thumbnails.shape == (9, 0, 0, 3)
        with pytest.raises(ParameterError, match="space='pixel' compares thumbnails"):
            cs.neighbors(found, 0, space="pixel")
        with pytest.raises(ParameterError, match="space='pixel' compares thumbnails"):
            cs.neighbors(found, x[:1], space="pixel")


def test_a_volume_shows_its_middle_plane() -> None:
    x = torch.zeros(1, 2, 5, 8, 8)
    x[:, :, 2, :4] = 1.0
    found = cs.embed(network((2, 5, 8, 8)), x)
    assert (found.thumbnails[0, :32] == 255).all()
    assert not found.thumbnails[0, 32:].any()
    assert "pixel space" in " ".join(found.provenance.notes)


@SHAPES
def test_a_store_keeps_them_by_their_content(shape: tuple[int, ...], tmp_path: Path) -> None:
    net, x = network(shape), torch.randn(4, *shape)
    place = tmp_path / "vectors.lance"
    store = cs.embed(net, x, store=place)
    (block,) = store.blocks()
    np.testing.assert_allclose(block.vectors, cs.embed(net, x).vectors, rtol=0, atol=1e-6)
    changed = x.clone()
    changed[2] += 1
    again = cs.embed(net, changed, store=place)
    assert (again.changes.new, again.changes.changed) == (0, 1)
    what = "signal" if shape is SIGNAL else "volume"
    assert cs.neighbors(again, changed[2:3], k=1, model=net).names == (f"{what} 2",)
    if shape is SIGNAL:
        with pytest.raises(ParameterError, match="a query has none"):
            cs.neighbors(again, "signal 0", space="pixel")


def test_rows_of_several_inputs_have_vectors(tmp_path: Path) -> None:
    net, x, m = Two().eval(), torch.randn(4, 3, 8, 6), torch.randn(4, 5)
    model = cs.Model(net, inputs={"image": x[:1], "meta": m[:1]})
    with torch.no_grad():
        expected = net.join(torch.cat([net.body(x), m], dim=1)).tanh()
        held = net.join(torch.cat([net.body(x), m[:1].expand(4, -1)], dim=1)).tanh()
        maps = net.body[0](x)
    for call in ({"meta": m, "image": x}, (x, m)):
        found = cs.embed(model, call)
        np.testing.assert_allclose(found.vectors, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.thumbnails, cs.embed(model, x).thumbnails)
    np.testing.assert_allclose(cs.embed(model, x).vectors, held, rtol=0, atol=1e-6)
    with_rows = cs.Model(net, inputs={"image": x[:1], "meta": m})
    np.testing.assert_allclose(cs.embed(with_rows, x).vectors, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(cs.feature_maps(model, (x, m), layer="body.0")["body.0"], maps, rtol=0, atol=1e-6)
    store = cs.embed(model, (x, m), store=tmp_path / "vectors.lance")
    (block,) = store.blocks()
    np.testing.assert_allclose(block.vectors, expected, rtol=0, atol=1e-6)
    other = cs.embed(model, (x, torch.cat([m[:1] + 1, m[1:]])), store=tmp_path / "vectors.lance")
    assert (other.changes.new, other.changes.changed) == (0, 1)
    assert cs.neighbors(store, (x[3:], m[3:]), model=model, k=1).names == ("image 3",)
    assert cs.neighbors(found, (x[3:], m[3:]), k=1).indices.tolist() == [[3]]


def test_what_would_be_held_is_refused_in_a_store(tmp_path: Path) -> None:
    net, x, m = Two().eval(), torch.randn(4, 3, 8, 6), torch.randn(4, 5)
    model = cs.Model(net, inputs={"image": x[:1], "meta": m[:1]})
    for call in (x, {"image": x}):
        with pytest.raises(ParameterError, match="meta would be held: give all inputs"):
            cs.embed(model, call, store=tmp_path / "vectors.lance")
    assert not (tmp_path / "vectors.lance").exists()
    with pytest.raises(ParameterError, match="different numbers of rows"):
        cs.embed(model, (x, m[:3]))


class Words(nn.Module):
    """Of numbers and a word."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, meta: torch.Tensor, word: torch.Tensor) -> torch.Tensor:
        joined: torch.Tensor = self.head(meta + self.words(word))
        return joined


def test_whole_numbers_may_be_held_and_not_differ() -> None:
    net, m, word = Words().eval(), torch.randn(3, 5), torch.tensor([4])
    model = cs.Model(net, inputs={"meta": m[:1], "word": word})
    with torch.no_grad():
        expected = m + net.words(word)
    np.testing.assert_allclose(cs.embed(model, {"meta": m, "word": word}).vectors, expected, rtol=0, atol=1e-6)
    with pytest.raises(ParameterError, match=r"word: rows of torch.int64 cannot differ here"):
        cs.embed(model, {"meta": m, "word": torch.tensor([1, 2, 3])})
