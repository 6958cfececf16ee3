"""Programs of torch.export and TorchScript: the same numbers as from the network that they were made from."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.export import Dim, export, save

import convscope as cs
from convscope import Model, ModelError, ParameterError, load_model

from .onnx_graphs import network

X = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Inner(nn.Module):
    """In-place activations, a layer that runs twice, a skip, a flatten: what exported programs often have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.pool, self.six, self.fc = nn.MaxPool2d(3, 2, 1), nn.ReLU6(inplace=True), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(x)))
        x = self.pool(x)
        x = self.act(x - 0.1) + x
        return self.fc(self.six(x).mean(dim=(2, 3)))


def net() -> Inner:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Inner().eval()


def written(path: Path, module: nn.Module, x: torch.Tensor, *, any_number: bool = True) -> Path:
    shapes = ({0: Dim.DYNAMIC},) if any_number else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(export(module, (x,), dynamic_shapes=shapes), path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("exported") / "net.pt2", net(), X)


@pytest.fixture
def model(file: Path) -> Model:
    return load_model(file, device="cpu")


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("saliency", {}), ("guided_backprop", {}), ("deconvnet", {}), ("lrp", {}), ("deep_lift", {}),
        ("integrated_gradients", {"n_steps": 4}), ("grad_cam", {"layer": "pool"}), ("occlusion", {"window": 4}),
        ("rise", {"n_masks": 8}),
    ],
)  # fmt: skip
def test_methods_give_what_they_give_for_the_network(
    model: Model, method: str, options: dict[str, object]
) -> None:
    found, expected = (getattr(cs, method)(one, X, target=2, **options) for one in (model, Model(net())))
    assert_allclose(found.values, expected.values, rtol=1e-4, atol=1e-5 * np.abs(expected.values).max())
    assert not any("no ReLU" in note for note in found.provenance.notes)


def test_layers_keep_their_names(model: Model) -> None:
    assert {"conv", "norm", "act", "pool", "six", "fc"} <= {layer.name for layer in model.layers((16, 16))}
    expected = Model(net())
    assert_allclose(cs.embed(model, X).vectors, cs.embed(expected, X).vectors, rtol=1e-5)
    maps = [cs.feature_maps(m, X, layer="pool")["pool"] for m in (model, expected)]
    assert_allclose(*maps, rtol=1e-5)
    assert_allclose(model.predict(X).scores, net()(X).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_program_for_one_image_runs_image_by_image(tmp_path: Path) -> None:
    model = load_model(written(tmp_path / "one.pt2", net(), X[:1], any_number=False), device="cpu")
    found = model.predict(X)
    assert_allclose(found.scores, net()(X).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert any(
        "one image at a time (it was exported for a batch of one" in note for note in found.provenance.notes
    )


def test_a_program_for_several_images_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "two.pt2", net(), X[:2], any_number=False)
    with pytest.raises(ModelError, match=r"for batches of 2 images alone.*dynamic_shapes"):
        load_model(path)


def test_several_inputs_are_named_in_the_error(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x.mean(dim=(2, 3)) + y

    save(export(Two(), (X, torch.zeros(3, 3))), tmp_path / "n.pt2")
    with pytest.raises(ModelError, match=r"takes 2 inputs \(\(3, 3, 16, 16\), \(3, 3\)\)"):
        load_model(tmp_path / "n.pt2")


def test_a_program_is_known_by_its_content(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is an exported program"):
        load_model("torchvision:resnet18", weights=file)
    renamed = tmp_path / "w.pth"
    renamed.write_bytes(file.read_bytes())
    assert load_model(renamed, device="cpu").predict(X).scores.shape == (3, 4)


def test_a_damaged_program(file: Path, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(tmp_path / "n.pt2", "w") as damaged:
        for name in archive.namelist():
            damaged.writestr(name, b"{" if name.endswith("model.json") else archive.read(name))
    with pytest.raises(ModelError, match="not a readable program"):
        load_model(tmp_path / "n.pt2")


def test_the_size_is_the_programs(file: Path) -> None:
    model = load_model(file, mean=[0.5] * 3, std=[0.5] * 3, device="cpu")
    assert model.preprocessing is not None
    assert model.preprocessing.input_size == (16, 16)
    with pytest.raises(ParameterError, match=r"takes images of \(16, 16\)"):
        load_model(file, input_size=(8, 8), mean=[0.5] * 3, std=[0.5] * 3)


def test_operations_of_aten_are_not_taken_for_functions_with_rules() -> None:
    class Aten(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(torch.ops.aten.relu.default(self.conv(x)).mean(dim=(2, 3)))

    assert Model(Aten()).structure((3, 16, 16)).hidden == ("relu",)
    with pytest.raises(ModelError, match="none of them can be seen"):
        cs.guided_backprop(Aten(), X, target=0)


def test_torchscript(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network(), X), tmp_path / "n.ts")
        model = load_model(tmp_path / "n.ts", input_size=(16, 16), mean=[0] * 3, std=[1] * 3)
        assert_allclose(model.predict(X).scores, network()(X).detach().numpy(), rtol=1e-4, atol=1e-5)
        for method, options in (("saliency", {}), ("occlusion", {"window": 4})):
            found, expected = (getattr(cs, method)(m, X, target=1, **options).values for m in (model, network()))
            assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert model.preprocessing is not None
