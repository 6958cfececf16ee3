"""ONNX files: the same numbers as from the network that they were made from, or an error."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from onnx import TensorProto, helper
from PIL import Image
from torch import nn

import convscope as cs
from convscope import ImageError, LayerError, Model, ModelError, ParameterError, load_model
from convscope.attribution import ATTRIBUTIONS
from convscope.models import onnx_modules
from convscope.models.onnx_sessions import OnnxNetwork

from .onnx_graphs import exported, linear_graph, network, written

RNG = torch.Generator().manual_seed(1)
X = torch.randn(3, 3, 16, 16, generator=RNG)
# Methods that need no gradient, with options that make them quick.
BLACK_BOX = {
    "occlusion": {"window": 4, "stride": 4},
    "occlusion_multiscale": {"windows": [4, 8]},
    "rise": {"n_masks": 12},
    "lime": {"n_samples": 16},
    "kernel_shap": {"n_samples": 16},
    "score_cam": {"layer": "RELU"},
    "eigen_cam": {"layer": "RELU"},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return exported(tmp_path / "net.onnx")


@pytest.fixture
def black_box(file: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setitem(sys.modules, "onnx2pytorch", None)
    model = load_model(file, device="cpu")
    assert isinstance(model.module, OnnxNetwork)
    return model


def relu_of(model: Model) -> str:
    return next(layer.name for layer in model.layers((16, 16)) if "elu" in layer.name.lower())


# --- as torch modules --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["saliency", "guided_backprop", "deconvnet", "lrp", "deep_lift", "integrated_gradients", "grad_cam"]
)
def test_gradient_methods_give_what_they_give_for_the_network(file: Path, method: str) -> None:
    model = load_model(file, device="cpu")
    found, expected = (getattr(cs, method)(one, X, target=2).values for one in (model, Model(network())))
    assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_layers_have_the_names_of_tensors(file: Path) -> None:
    model, net = load_model(file, device="cpu"), network()
    name = next(layer.name for layer in model.layers((16, 16)) if layer.name.endswith("Relu_output_0"))
    maps = cs.feature_maps(model, X, layer=name)[name]
    assert_allclose(maps, net[:3](X).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert_allclose(cs.embed(model, X).vectors, net[:8](X).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_the_shape_in_the_file_is_the_input_size(tmp_path: Path) -> None:
    model = load_model(written(tmp_path / "plain.onnx", linear_graph()), device="cpu")
    assert model.preprocessing is None  # the file says nothing of mean and std
    assert model.input_shape() == (3, 4, 4)
    assert model.layers()


def test_modules_that_give_something_else_are_not_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_modules.Clip, "forward", lambda self, x: x + 0.01)
    model = load_model(file, device="cpu")
    assert isinstance(model.module, OnnxNetwork)
    assert any("differ by" in note for note in model.notes)
    assert_allclose(model.predict(X).scores, network()(X).detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_file_of_the_other_exporter(tmp_path: Path) -> None:
    path, shapes = tmp_path / "net.onnx", ({0: torch.export.Dim.DYNAMIC},)
    torch.onnx.export(network(), (X,), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    model = load_model(path, device="cpu")
    assert not isinstance(model.module, OnnxNetwork)
    assert_allclose(model.predict(X).scores, network()(X).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_quantized_graph_has_no_gradients(tmp_path: Path) -> None:
    scale = helper.make_tensor("s", TensorProto.FLOAT, [], [0.1])
    zero = helper.make_tensor("z", TensorProto.INT8, [], [0])
    graph = linear_graph()
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Flatten", ["d"], ["flat"]),
        graph.graph.node[1],
    ]
    path = written(tmp_path / "q.onnx", linear_graph(nodes=nodes, weights=[*graph.graph.initializer, scale, zero]))
    x = torch.randn(1, 3, 4, 4)
    with pytest.raises(ModelError, match=r"no gradients \(.*quantized.*Use occlusion"):
        cs.saliency(load_model(path, device="cpu"), x, target=0)
    assert cs.occlusion(load_model(path, device="cpu"), x, target=0, window=2).values.any()


# --- as a black box ----------------------------------------------------------------------------------------


def test_a_black_box_gives_the_scores_of_the_network(black_box: Model) -> None:
    assert_allclose(black_box.predict(X).scores, network()(X).detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", BLACK_BOX)
def test_methods_without_gradients_give_what_they_give_for_the_network(black_box: Model, method: str) -> None:
    options = [dict(BLACK_BOX[method]), dict(BLACK_BOX[method])]
    if "layer" in options[0]:
        options[0]["layer"], options[1]["layer"] = relu_of(black_box), "2"
    models = (black_box, Model(network()))
    found, expected = (
        getattr(cs, method)(m, X[:1], target=2, **o).values for m, o in zip(models, options, strict=True)
    )
    assert np.abs(expected).max() > 0
    assert_allclose(found, expected, rtol=1e-3, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("method", sorted(set(ATTRIBUTIONS) - set(BLACK_BOX)))
def test_methods_with_gradients_are_refused_by_a_black_box(black_box: Model, method: str) -> None:
    with pytest.raises((ModelError, LayerError)) as caught:
        getattr(cs, method)(black_box, X[:1], target=2)
    assert "onnx2pytorch is not installed" in str(caught.value)


def test_any_named_tensor_can_be_looked_at(black_box: Model) -> None:
    name, net = relu_of(black_box), network()
    assert_allclose(
        cs.feature_maps(black_box, X, layer=name)[name], net[:3](X).detach().numpy(), rtol=1e-4, atol=1e-5
    )
    flat = next(layer.name for layer in black_box.layers((16, 16)) if layer.shape == (8,))
    vectors = cs.embed(black_box, X, layer=flat)
    assert_allclose(vectors.vectors, net[:8](X).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert cs.neighbors(vectors, X[1:2], k=1).indices[0, 0] == 1


def test_a_tensor_inside_cannot_be_changed(black_box: Model) -> None:
    name = relu_of(black_box)
    handle = black_box.module.get_submodule(name).register_forward_hook(lambda *given: given[2] + 1)
    with pytest.raises(ModelError, match="cannot be changed"):
        black_box.module(X)
    handle.remove()


def test_evidence_works_for_a_black_box(black_box: Model) -> None:
    map_ = cs.occlusion(black_box, X[:1], target=2, window=4, stride=4).values
    found, expected = (cs.evaluate(m, X[:1], map_, target=2, n_steps=4) for m in (black_box, network()))
    assert_allclose(found.curves, expected.curves, rtol=1e-3, atol=1e-4)


def test_a_black_box_can_be_copied_and_is_told_from_others(black_box: Model, tmp_path: Path) -> None:
    expected = black_box.predict(X)
    for copied in (copy.deepcopy(black_box.module), pickle.loads(pickle.dumps(black_box.module))):
        assert_allclose(Model(copied).predict(X).scores, expected.scores)
    other = load_model(exported(tmp_path / "other.onnx", nn.Sequential(nn.Flatten(), nn.Linear(768, 2))))
    digests = [p.provenance.model["weights_sha256"] for p in (expected, other.predict(X))]
    assert digests[0] != digests[1]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("converts", [True, False])
def test_a_fixed_number_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, converts: bool
) -> None:
    if not converts:
        monkeypatch.setitem(sys.modules, "onnx2pytorch", None)
    model = load_model(exported(tmp_path / "n.onnx", batch=batch), device="cpu")
    assert isinstance(model.module, OnnxNetwork) != converts
    assert_allclose(model.predict(X).scores, network()(X).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_channels_last(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Flatten", ["first"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 8, 3])]
    last = load_model(written(tmp_path / "l.onnx", linear_graph(nodes=nodes, inputs=inputs)), device="cpu")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 2, 8])]
    first = load_model(written(tmp_path / "f.onnx", linear_graph(inputs=inputs)), device="cpu")
    x = torch.randn(2, 3, 2, 8, generator=RNG)
    assert_allclose(last.predict(x).scores, first.predict(x).scores, rtol=1e-5)
    assert_allclose(cs.saliency(last, x, target=1).values, cs.saliency(first, x, target=1).values, rtol=1e-5)


# --- what is known of images -------------------------------------------------------------------------------


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8))


def expected_scores(picture: Image.Image, mean: float, std: float) -> np.ndarray:
    x = (np.asarray(picture, np.float32) / 255 - mean) / std
    weights = np.random.default_rng(0).normal(size=(48, 2)).astype(np.float32)
    return x.transpose(2, 0, 1).reshape(1, 48) @ weights


STATED = {
    "lists": ({"mean": "[0.5, 0.5, 0.5]", "std": "[0.25, 0.25, 0.25]"}, 0.5, 0.25),
    "up to 255": ({"mean": "[127.5, 127.5, 127.5]", "std": "[51, 51, 51]"}, 0.5, 0.2),
    "the standard's words": ({"Image.NominalPixelRange": "Normalized_1_1"}, 0.5, 0.5),
    "pixels as they are": ({"Image.NominalPixelRange": "NominalRange_0_255"}, 0.0, 1 / 255),
    "Ultralytics": ({"author": "Ultralytics", "names": "{0: 'no', 1: 'yes'}"}, 0.0, 1.0),
}


@pytest.mark.parametrize("kind", STATED)
def test_preprocessing_as_the_file_states_it(tmp_path: Path, picture: Image.Image, kind: str) -> None:
    metadata, mean, std = STATED[kind]
    model = load_model(written(tmp_path / "n.onnx", linear_graph(), **metadata), device="cpu")
    assert_allclose(model.predict(picture).scores, expected_scores(picture, mean, std), rtol=1e-4, atol=1e-4)
    assert (model.labels == ("no", "yes")) == ("names" in metadata)


def test_what_is_given_wins_and_is_noted(tmp_path: Path, picture: Image.Image) -> None:
    path = written(
        tmp_path / "n.onnx", linear_graph(), mean="[0.1, 0.1, 0.1]", std="[1, 1, 1]", names="['a', 'b']"
    )
    model = load_model(path, mean=[0.5] * 3, labels=["c", "d"], device="cpu")
    found = model.predict(picture)
    assert_allclose(found.scores, expected_scores(picture, 0.5, 1.0), rtol=1e-4, atol=1e-4)
    assert found.labels == ("c", "d")
    assert any("mean=(0.5, 0.5, 0.5), as given, in place of (0.1, 0.1, 0.1)" in n for n in found.provenance.notes)


def test_what_is_not_known_has_to_be_given(tmp_path: Path, picture: Image.Image) -> None:
    path = written(tmp_path / "n.onnx", linear_graph())
    with pytest.raises(ImageError, match=r"give input_size=\(H, W\), mean=\[...\] and std="):
        load_model(path, device="cpu").predict(picture)
    with pytest.raises(ParameterError, match="give std= too"):
        load_model(path, mean=[0.5] * 3)
    with pytest.raises(ParameterError, match=r"takes images of \(4, 4\) \(height, width\) alone"):
        load_model(path, input_size=(8, 8), mean=[0.5] * 3, std=[1] * 3)
    with pytest.raises(ParameterError, match="takes 3 channels"):
        load_model(path, mean=[0.5], std=[1.0])
    model = load_model(path, mean=[0.5] * 3, std=[0.5] * 3, device="cpu")
    assert_allclose(model.predict(picture).scores, expected_scores(picture, 0.5, 0.5), rtol=1e-4, atol=1e-4)


def test_blue_first_is_not_taken_for_red(tmp_path: Path) -> None:
    metadata = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "Normalized_0_1"}
    model = load_model(written(tmp_path / "n.onnx", linear_graph(), **metadata), device="cpu")
    assert model.preprocessing is None
    assert any("first channel is blue" in note for note in model.notes)


@pytest.mark.parametrize(
    "text", ["__import__('os').system('touch hacked')", "[" * 5000, "{0: 'a', 5: 'b'}", "'", "1e999"]
)
def test_metadata_is_data(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = load_model(written(tmp_path / "n.onnx", linear_graph(), names=text, mean=text), device="cpu")
    assert model.labels is None
    assert not (tmp_path / "hacked").exists()
