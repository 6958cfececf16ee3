"""Keras models with the torch backend: images (N, C, H, W) go in, layers have Keras's names."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import convscope as cs
from convscope import Model, ModelError

os.environ.setdefault("KERAS_BACKEND", "torch")  # before keras is imported

X = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def net() -> Any:
    keras = pytest.importorskip("keras")
    layers = keras.layers
    keras.utils.set_random_seed(0)
    image = keras.Input((24, 24, 3))
    inner = [keras.Input((24, 24, 8)), layers.Conv2D(12, 3, name="second"), layers.ReLU(name="r")]
    block = keras.Sequential(inner, name="block")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(block(x))
    return keras.Model(image, layers.Dense(4, name="head")(layers.Dropout(0.5)(x)))


@pytest.mark.slow
def test_scores_and_gradients_are_those_of_keras(net: Any) -> None:
    model = Model(net, input_size=(24, 24), mean=[0] * 3, std=[1] * 3, labels=list("abcd"))
    leaf = X.clone().requires_grad_()
    scores = net(leaf.permute(0, 2, 3, 1))
    assert_allclose(model.predict(X).scores, scores.detach().numpy(), rtol=1e-5)
    (gradient,) = torch.autograd.grad(scores[:, 1].sum(), leaf)
    assert_allclose(cs.saliency(model, X, target="b").values, gradient.abs().amax(1).numpy(), rtol=1e-4, atol=1e-7)
    hidden = X[:1].clone()
    hidden[..., :8, :8] = 0
    fall = float((scores[0, 1] - net(hidden.permute(0, 2, 3, 1))[0, 1]).detach())
    found = cs.occlusion(model, X[:1], target="b", window=8, stride=8)
    assert found.values[0, 0, 0] == pytest.approx(fall, rel=1e-3, abs=1e-6)


@pytest.mark.slow
def test_layers_have_their_names_and_channels_first(net: Any) -> None:
    model = Model(net)
    names = [layer.name for layer in model.layers((24, 24))]
    assert {"first", "norm", "block.second", "block.r", "pool", "head"} <= set(names)
    maps = cs.feature_maps(model, X, layer="first")["first"]
    expected = net.get_layer("first")(X.permute(0, 2, 3, 1)).detach().permute(0, 3, 1, 2).numpy()
    assert_allclose(maps, expected, rtol=1e-4, atol=1e-6)
    assert cs.embed(model, X).vectors.shape == (2, 12)
    assert cs.grad_cam(model, X, target=1).provenance.parameters["layer"] in ("block", "block.r")
    assert np.abs(cs.guided_backprop(model, X, target=1).values - cs.saliency(model, X, target=1).values).max() > 0


def test_a_keras_model_of_another_backend_is_refused_with_advice() -> None:
    other = type("Functional", (), {"__module__": "keras.src.models.functional"})()
    with pytest.raises(ModelError, match="set KERAS_BACKEND=torch before keras is imported"):
        Model(other)


@pytest.mark.slow
def test_keras_is_not_imported_for_other_networks() -> None:
    code = "import sys, torch, convscope; convscope.Model(torch.nn.Flatten()); assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
