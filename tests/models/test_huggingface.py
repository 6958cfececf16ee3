"""Networks of transformers from a folder: what they compute, what methods make of them, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tests.models.tiny_transformers import BACKBONES, CLASSIFIERS, clip, saved, strong
from tests.oracles.cams import from_0_to_1, peer_cam
from torch import nn
from torch.nn import functional as F

import convscope as cs
from convscope import Model, ModelError, SimilarTo, load_model

WITH_GLOBAL_ATTENTION = ["vit", "deit", "dinov2", "dinov2 registers"]


def loaded(net: nn.Module, folder: Path) -> Model:
    return load_model(f"hf:{saved(net, folder)}", device="cpu")


@pytest.fixture(params=CLASSIFIERS)
def net(request: pytest.FixtureRequest) -> nn.Module:
    return strong(CLASSIFIERS[request.param]())


def test_scores_and_gradients_are_those_of_the_network(net: nn.Module, tmp_path: Path) -> None:
    model, x = loaded(net, tmp_path / "net"), torch.randn(2, 3, 32, 32)
    assert model.labels == ("cat", "dog", "owl")
    assert (model.name, model.notes) == ("hf:net", ())
    leaf = x.clone().requires_grad_()
    logits = net(leaf).logits
    found = cs.saliency(model, x, target="dog")
    np.testing.assert_allclose(model.predict(x).scores, logits.detach().numpy(), rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), leaf)
    expected = gradient.abs().amax(dim=1).numpy()
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-4 * expected.max())


def test_occlusion_is_a_difference_of_scores(net: nn.Module, tmp_path: Path) -> None:
    model, x = loaded(net, tmp_path), torch.randn(1, 3, 32, 32)
    hidden = x.clone()
    hidden[:, :, 8:24, :16] = 0
    mask = (hidden == 0).all(dim=1).numpy()
    with torch.no_grad():
        expected = (net(x).logits - net(hidden).logits)[0, 2]
    found = cs.occlusion(model, x, target=2, shape=mask).values
    np.testing.assert_allclose(found[mask], float(expected), rtol=0, atol=1e-5)


def test_embeddings_are_what_the_classifier_takes_in(net: nn.Module, tmp_path: Path) -> None:
    model, x = loaded(net, tmp_path), torch.randn(2, 3, 32, 32)
    heads = [m for m in net.modules() if isinstance(m, nn.Linear) and m.out_features == 3]
    given: list[torch.Tensor] = []
    for head in heads:
        head.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    with torch.no_grad():
        net(x)
    found = cs.embed(model, x).vectors
    assert any(np.allclose(found, one.numpy(), atol=1e-5) for one in given)


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("vit", "vit.layers.1.layernorm_before"),  # of the last layer, only the class token is read
        ("dinov2 registers", "dinov2_with_registers.layernorm"),
        ("swin", "swin.layernorm"),
        ("convnext", "convnext.encoder.stages.1"),
        ("resnet", "resnet.encoder.stages.1"),
    ],
)
def test_grad_cam_is_that_of_pytorch_grad_cam(kind: str, layer: str, tmp_path: Path) -> None:
    net, x = strong(CLASSIFIERS[kind]()), torch.randn(3, 3, 32, 32)
    found = cs.grad_cam(loaded(net, tmp_path), x, target=[0, 1, 2])

    def maps_of(output: torch.Tensor) -> torch.Tensor:
        return output[:, -16:].transpose(1, 2).unflatten(2, (4, 4)) if output.ndim == 3 else output

    expected = peer_cam("GradCAM", _Logits(net), net.get_submodule(layer), x, [0, 1, 2], maps_of)
    np.testing.assert_allclose(from_0_to_1(found.values), expected, rtol=0, atol=1e-3)


class _Logits(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x).logits


@pytest.mark.parametrize("kind", WITH_GLOBAL_ATTENTION)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_is_that_which_transformers_returns(kind: str, implementation: str, tmp_path: Path) -> None:
    net, x = strong(CLASSIFIERS[kind]()), torch.randn(1, 3, 32, 32)
    model = loaded(net, tmp_path)
    net.set_attn_implementation("eager")  # which keeps its weights
    output = net(x, output_attentions=True)
    for weights in output.attentions:
        weights.retain_grad()
    output.logits[0, 1].backward()
    model.module.network.set_attn_implementation(implementation)
    n = output.attentions[0].shape[-1]
    rolled, flow = torch.eye(n), torch.eye(n)
    for weights in output.attentions:
        rolled = (weights.detach()[0].mean(0) + torch.eye(n)) / 2 @ rolled
        flow = flow + (weights.detach() * weights.grad)[0].clamp(min=0).mean(0) @ flow
    for method, by_hand in ((cs.attention_rollout, rolled), (cs.attention_gradient, flow)):
        patches = by_hand[0, n - 16 :].reshape(1, 1, 4, 4)
        expected = F.interpolate(patches, (32, 32), mode="bilinear")[0, 0].numpy()
        found = method(model, x, target=1).values[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.max())


def test_lrp_has_a_rule_for_all_that_they_do(net: nn.Module, tmp_path: Path) -> None:
    found = cs.lrp(loaded(net, tmp_path), torch.randn(1, 3, 32, 32), target=0)
    assert not [note for note in found.provenance.notes if "no rule" in note]
    assert found.values.any()


def test_lrp_is_the_same_however_attention_runs(tmp_path: Path) -> None:
    model, x = loaded(strong(CLASSIFIERS["vit"]()), tmp_path), torch.randn(1, 3, 32, 32)
    fused = cs.lrp(model, x, target=0).values
    model.module.network.set_attn_implementation("eager")
    np.testing.assert_allclose(cs.lrp(model, x, target=0).values, fused, rtol=0, atol=1e-4 * np.abs(fused).max())


@pytest.mark.parametrize("kind", [*WITH_GLOBAL_ATTENTION, "swin", "convnext"])
def test_places_are_found_whatever_tokens_come_before_them(kind: str, tmp_path: Path) -> None:
    model = loaded(strong(CLASSIFIERS[kind]()), tmp_path)
    structure = model.structure()
    assert structure.last_spatial is not None
    assert structure.last_spatial.shape[1:] == (4, 4)
    assert structure.patch == ((4, 4) if kind in ("swin", "convnext") else (8, 8))
    cam = cs.grad_cam(model, torch.randn(1, 3, 32, 32), target=0)
    assert not [note for note in cam.provenance.notes if "may be in another order" in note]


def test_images_need_not_be_square(tmp_path: Path) -> None:
    model = loaded(strong(CLASSIFIERS["dinov2 registers"]()), tmp_path)
    structure = model.structure((3, 32, 48))
    assert structure.last_spatial is not None
    assert structure.last_spatial.shape[1:] == (4, 6)
    assert cs.attention_gradient(model, torch.randn(1, 3, 32, 48), target=0).values.shape == (1, 32, 48)


def vectors_of(kind: str, net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    output = net(x)
    if kind == "clip vision":
        return output.image_embeds
    return output.last_hidden_state[:, 0] if kind == "dino" else output.pooler_output.flatten(1)


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_network_without_a_classifier_embeds(kind: str, tmp_path: Path) -> None:
    net, x = strong(BACKBONES[kind]()), torch.randn(2, 3, 32, 32)
    model = loaded(net, tmp_path)
    assert "has no classifier; its feature vector is" in model.notes[0]
    expected = vectors_of(kind, net, x).detach().numpy()
    np.testing.assert_allclose(cs.embed(model, x).vectors, expected, rtol=0, atol=1e-5)
    for method in (cs.saliency, cs.occlusion, cs.attention_rollout, Model.predict):
        with pytest.raises(ModelError, match="the network has no classifier: its output is a feature vector of"):
            method(model, x)


@pytest.mark.parametrize("kind", ["dino", "dinov2", "clip vision"])
def test_a_network_without_a_classifier_explains_similarity(kind: str, tmp_path: Path) -> None:
    net, x = strong(BACKBONES[kind]()), torch.randn(1, 3, 32, 32)
    model, other = loaded(net, tmp_path), torch.randn(1, 3, 32, 32)
    leaf = x.clone().requires_grad_()
    F.cosine_similarity(vectors_of(kind, net, leaf), vectors_of(kind, net, other)).sum().backward()
    expected = leaf.grad.abs().amax(dim=1).numpy()
    found = cs.saliency(model, x, target=SimilarTo(other))
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-4 * expected.max())
    for method in (cs.grad_cam, cs.attention_rollout, cs.attention_gradient, cs.lrp, cs.occlusion):
        assert method(model, x, target=SimilarTo(other)).values.any()


def test_of_a_network_for_images_and_texts_it_takes_the_image_tower(tmp_path: Path) -> None:
    net, x = strong(clip()), torch.randn(2, 3, 32, 32)
    model = loaded(net, tmp_path)
    assert model.notes[0] == "the image tower of CLIPModel, CLIPVisionModelWithProjection"
    expected = net.visual_projection(net.vision_model(x).pooler_output).detach().numpy()
    np.testing.assert_allclose(cs.embed(model, x).vectors, expected, rtol=0, atol=1e-5)


@pytest.fixture
def texts() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """CLIP, with the scale that it is trained to, and two sentences of three and four words."""
    net = strong(clip())
    net.logit_scale.data.fill_(math.log(100))
    words = torch.tensor([[1, 5, 7, 2, 0], [1, 9, 3, 4, 2]])
    return net, {"input_ids": words, "attention_mask": (words != 0).long()}


def gradients_of(net: nn.Module, words: dict[str, torch.Tensor], x: torch.Tensor, text: int) -> torch.Tensor:
    """Of CLIP's own logits of images and texts, without their scale: the cosines."""
    leaf = x.clone().requires_grad_()
    cosines = net(pixel_values=leaf, **words).logits_per_image / net.logit_scale.exp()
    return torch.autograd.grad(cosines[:, text].sum(), leaf)[0]


def test_the_similarity_to_a_text_is_clips_own(texts: Any, tmp_path: Path) -> None:
    (net, words), x = texts, torch.randn(2, 3, 32, 32)
    model = loaded(net, tmp_path)
    with torch.no_grad():
        vectors = net.text_projection(net.text_model(**words).pooler_output)
        logits = net(pixel_values=x, **words).logits_per_image
    for n, vector in enumerate(vectors):
        found = cs.saliency(model, x, target=SimilarTo(vector))
        np.testing.assert_allclose(found.scores, logits[:, n] / 100, rtol=0, atol=1e-5)
        expected = gradients_of(net, words, x, n).abs().amax(dim=1).numpy()
        np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-4 * expected.max())
        assert cs.grad_cam(model, x, target=SimilarTo(vector), kind="signed").values.any()
        assert cs.attention_gradient(model, x, target=SimilarTo(vector)).values.any()


def test_texts_may_be_the_classes(texts: Any, tmp_path: Path) -> None:
    (net, words), x = texts, torch.randn(2, 3, 32, 32)
    preprocessing = loaded(net, tmp_path).preprocessing

    def scores(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return net(pixel_values=x, **words).logits_per_image

    model = Model(net, forward=scores, labels=["a dog", "a cat"], preprocessing=preprocessing)
    with torch.no_grad():
        expected = scores(net, x)
    np.testing.assert_allclose(model.predict(x).probabilities, expected.softmax(dim=1), rtol=0, atol=1e-4)
    found = cs.saliency(model, x, target="a cat")
    gradient = 100 * gradients_of(net, words, x, 1).abs().amax(dim=1).numpy()
    np.testing.assert_allclose(found.values, gradient, rtol=0, atol=1e-4 * gradient.max())
    against = cs.occlusion(model, x, target=cs.Contrast("a cat", "a dog"), window=8, stride=8)
    hidden = x.clone()
    hidden[:, :, 8:16, 16:24] = 0
    with torch.no_grad():
        fall = (expected - scores(net, hidden)) @ torch.tensor([-1.0, 1.0])
    np.testing.assert_allclose(against.values[:, 12, 20], fall, rtol=0, atol=1e-4)
    cam = cs.grad_cam(model, x, target="a cat", kind="signed")
    assert cam.provenance.parameters["layer"] == "vision_model.encoder.layers.1.layer_norm1"
    assert cam.values.any()


def test_weights_may_be_in_several_files(tmp_path: Path) -> None:
    net, x = strong(CLASSIFIERS["vit"]()), torch.randn(1, 3, 32, 32)
    folder = saved(net, tmp_path, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    found = load_model(f"hf:{folder}", device="cpu").predict(x).scores
    np.testing.assert_allclose(found, net(x).logits.detach().numpy(), rtol=0, atol=1e-5)


def test_labels_and_independent_classes_are_read(tmp_path: Path) -> None:
    net = strong(CLASSIFIERS["vit"]())
    net.config.id2label = {i: f"LABEL_{i}" for i in range(3)}
    net.config.problem_type = "multi_label_classification"
    model = loaded(net, tmp_path)
    assert model.labels is None
    assert model.multilabel
    assert load_model(f"hf:{tmp_path}", labels=["a", "b", "c"]).labels == ("a", "b", "c")


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    model = loaded(strong(CLASSIFIERS["vit"]()).half(), tmp_path)
    assert model.dtype == torch.float32


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    return saved(strong(CLASSIFIERS["vit"]()), tmp_path / "vit")


def edited(folder: Path, name: str = "config.json", **changes: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_nothing_is_downloaded_and_nothing_is_run(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)
    before = constants.HF_HUB_OFFLINE
    (vit / "own.py").write_text(f"open({str(vit / 'ran')!r}, 'w')")
    code = {"AutoConfig": "own.Own", "AutoModelForImageClassification": "own.Own", "AutoImageProcessor": "own.Own"}
    edited(vit, auto_map=code, _attn_implementation="kernels-community/vllm-flash-attn3", name_or_path="a/b")
    edited(vit, "preprocessor_config.json", auto_map=code)
    model = load_model(f"hf:{vit}", device="cpu")
    assert model.module.network.config._attn_implementation == "sdpa"
    assert constants.HF_HUB_OFFLINE is before
    edited(vit, architectures=["Own"])
    with pytest.raises(ModelError, match=r"has no network 'Own'\. Its own code \(auto_map\) is never run"):
        load_model(f"hf:{vit}")
    assert not (vit / "ran").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_link_out_of_the_folder_is_refused(vit: Path, name: str) -> None:
    shutil.move(vit / name, vit.parent / name)
    (vit / name).symlink_to(vit.parent / name)
    with pytest.raises(ModelError, match="lies outside of its folder"):
        load_model(f"hf:{vit}")


@pytest.mark.parametrize(
    "name", ["../weights.safetensors", "{}/weights.safetensors", "sub/../../weights.safetensors"]
)
def test_an_index_that_names_a_file_outside_is_refused(vit: Path, name: str) -> None:
    shutil.move(vit / "model.safetensors", vit.parent / "out.safetensors")
    place = name.format(vit.parent)
    (vit / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"vit.embeddings.cls_token": place}})
    )
    with pytest.raises(ModelError, match="lies outside of its folder"):
        load_model(f"hf:{vit}")


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "gone.safetensors"}, "lacks gone.safetensors"),
        ({"a": "config.json"}, "expected a .safetensors file"),
        ({"a": 3}, "has no weight_map"),
        ([], "has no weight_map"),
        ({"a": "a\0b"}, "cannot be read"),
    ],
)
def test_a_bad_index_is_refused(vit: Path, weight_map: Any, message: str) -> None:
    (vit / "model.safetensors").unlink()
    (vit / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ModelError, match=message):
        load_model(f"hf:{vit}")


def test_pickled_weights_are_refused(vit: Path) -> None:
    torch.save({}, vit / "pytorch_model.bin")
    (vit / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"only as a pickle \(pytorch_model.bin\), which can run any code"):
        load_model(f"hf:{vit}")
    (vit / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"has no model\.safetensors"):
        load_model(f"hf:{vit}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": None}, "names no architecture"),
        ({"architectures": ["pipeline"]}, "has no network 'pipeline'"),
        ({"architectures": ["ViTConfig"]}, "has no network 'ViTConfig'"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "the weights are quantized"),
        ({"backbone": "microsoft/resnet-50"}, "takes a network from elsewhere .backbone: 'microsoft/resnet-50'"),
        ({"backbone_config": {"use_timm_backbone": True}}, "takes a network from elsewhere"),
        ({"model_type": "timm_wrapper"}, "takes a network from elsewhere"),
        ({"hidden_size": 32}, "has the shape .*; by config.json a ViTForImageClassification expects"),
        ({"num_hidden_layers": 3}, "lacks 16 weights of a ViTForImageClassification, which would be random: vit"),
        ({"hidden_size": "wide"}, "not the configuration of a ViTForImageClassification"),
        ({"architectures": ["CLIPModel"], "vision_config": "x"}, "vision_config is a str; expected an object"),
        ({"hidden_act": "boom"}, "do not fit a ViTForImageClassification"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(vit: Path, changes: dict[str, Any], message: str) -> None:
    edited(vit, **changes)
    with pytest.raises(ModelError, match=message):
        load_model(f"hf:{vit}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hidden_size": 10**9},
            "hidden_size is 1,000,000,000, and by its weights .40 tensors, .* at most 1,048,576",
        ),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1,000,000,000, and by its weights .* at most 40"),
        ({"num_hidden_layers": 1e9}, "num_hidden_layers is 1,000,000,000"),
        ({"num_labels": 10**9}, "num_labels is 1,000,000,000, .* at most 32"),
        ({"nested": {"depths": [2, 10**9]}}, "depths is 1,000,000,000"),
        ({"hidden_size": 10**6}, "has 8,000,362,000,067 values, and the weights are 13,363"),
        ({"image_size": 10**6}, "values, and the weights are 13,363"),
    ],
)
def test_a_network_far_larger_than_its_weights_is_never_made(
    vit: Path, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(vit, **changes)

    def made(*args: Any, **options: Any) -> None:
        raise AssertionError("it was made")

    monkeypatch.setattr("transformers.ViTForImageClassification.from_pretrained", made)
    with pytest.raises(ModelError, match=message):
        load_model(f"hf:{vit}")


def test_a_relative_folder(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(vit)
    for name in (".", "../vit", "../vit/", "./"):
        assert load_model(f"hf:{name}", device="cpu").name == "hf:vit"


def test_unused_weights_are_noted_and_broken_ones_refused(vit: Path) -> None:
    weights = load_file(vit / "model.safetensors")
    save_file({**weights, "more": torch.ones(1)}, vit / "model.safetensors")
    assert load_model(f"hf:{vit}").notes == ("1 weights of the file have no place in it: more",)
    weights["classifier.bias"][1] = torch.nan
    save_file(weights, vit / "model.safetensors")
    with pytest.raises(ModelError, match=r"weights that are NaN or infinite: classifier\.bias"):
        load_model(f"hf:{vit}")


@pytest.mark.parametrize("changes", [{"image_mean": "x"}, {"rescale_factor": "x"}, {"resample": 99}], ids=repr)
def test_preprocessing_of_the_wrong_types_is_refused(vit: Path, changes: dict[str, Any]) -> None:
    place = vit / "preprocessor_config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))
    with pytest.raises(ModelError, match=r"preprocessor_config.json: .*give input_size, mean and std"):
        load_model(f"hf:{vit}")


@pytest.mark.parametrize(("text", "message"), [("{", "not readable JSON"), ("[]", "holds a list"), ("", "JSON")])
def test_a_configuration_that_is_none_is_refused(vit: Path, text: str, message: str) -> None:
    (vit / "config.json").write_text(text)
    with pytest.raises(ModelError, match=message):
        load_model(f"hf:{vit}")


def test_a_configuration_that_is_far_too_large_is_refused(vit: Path) -> None:
    with (vit / "config.json").open("r+b") as file:
        file.truncate(2**25)
    with pytest.raises(ModelError, match="expected at most"):
        load_model(f"hf:{vit}")


def test_what_is_no_folder_is_not_looked_for_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such folder.*hf download google/vit"):
        load_model("hf:google/vit")
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load_model(f"hf:{tmp_path}")


def test_without_its_preprocessing_it_has_to_be_given(vit: Path) -> None:
    (vit / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"has no preprocessor_config\.json; give input_size, mean and std"):
        load_model(f"hf:{vit}")
    with pytest.raises(ModelError, match=r"has no preprocessor_config\.json; give input_size, mean and std"):
        load_model(f"hf:{vit}", mean=[0.5] * 3)
    model = load_model(f"hf:{vit}", input_size=(32, 32), mean=[0.5] * 3, std=[0.25] * 3)
    assert model.preprocessing is not None
    assert model.preprocessing.std == (0.25,) * 3
    assert any("prepared as given: " in note for note in model.notes)


def test_what_is_given_replaces_its_own_part_by_part(vit: Path) -> None:
    own = load_model(f"hf:{vit}").preprocessing
    model = load_model(f"hf:{vit}", std=[0.125] * 3, multilabel=True)
    assert own is not None
    assert model.preprocessing == replace(own, std=(0.125,) * 3)
    assert any(f"std=(0.125, 0.125, 0.125), as given, in place of {own.std}" in note for note in model.notes)
    assert model.multilabel


def test_its_scores_can_be_looked_for_elsewhere(vit: Path) -> None:
    """In what the network returns, not in what was chosen there before."""
    plain, model = load_model(f"hf:{vit}", device="cpu"), load_model(f"hf:{vit}", output="logits", device="cpu")
    x = torch.randn(2, *plain.input_shape())
    torch.testing.assert_close(model.predict(x).scores, plain.predict(x).scores, rtol=0, atol=0)


def test_weights_beside_a_folder_are_refused(vit: Path) -> None:
    with pytest.raises(ModelError, match="a folder has its own weights"):
        load_model(f"hf:{vit}", weights=vit / "model.safetensors")


def test_without_transformers_the_error_says_what_to_install(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"pip install 'convscope\[hf\]'"):
        load_model(f"hf:{vit}")


def test_a_folder_says_whether_it_returns_values(tmp_path: Path) -> None:
    net = strong(CLASSIFIERS["vit"]())
    net.config.problem_type = "regression"
    assert loaded(net, tmp_path).regression
    by_caller = load_model(f"hf:{tmp_path}", multilabel=True, device="cpu")
    assert (by_caller.multilabel, by_caller.regression) == (True, False)
