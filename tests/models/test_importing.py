"""Networks of the user's own code: `load_model("package.module:build")`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from convscope import Model, ModelError, ParameterError, load_model

CODE = """
import torch
from torch import nn
from convscope import Model

class Net(nn.Module):
    def __init__(self, n_classes=2):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, n_classes)
    def forward(self, x):
        features = self.conv(x).relu().mean((2, 3))
        return {"logits": self.fc(features), "features": features}

class Plain(Net):
    def forward(self, x):
        return super().forward(x)["logits"]

def build(): return Plain()
def wrapped(): return Model(Plain(), input_size=(8, 8), mean=[0.5] * 3, std=[0.25] * 3, labels=["a", "b"],
                             name="mine")
def of_classes(n, *, deep): return Plain(n)
def fails():
    raise KeyError("config")
def state(): return Plain().state_dict()
def pair(): return Plain(), None
made = Plain()
VALUE = 3

class Shifted(Net):
    def forward(self, x, shift):
        return {"logits": super().forward(x)["logits"] + shift, "features": x.mean((2, 3))}

HELD = {"x": torch.zeros(1, 3, 8, 8), "shift": torch.full((1, 1), 3.0)}
def with_inputs(): return Model(Shifted(), inputs=HELD, output="features")
"""


@pytest.fixture
def code(tmp_path: Path) -> str:
    (tmp_path / "shape_net.py").write_text(CODE)
    return str(tmp_path / "shape_net.py")


def load(source: str, **options: object) -> Model:
    return load_model(source, device="cpu", **options)


@pytest.mark.parametrize("name", ["build", "Plain", "made", "wrapped"])
def test_a_module_a_model_a_class_and_a_function_are_taken(code: str, name: str) -> None:
    model = load(f"{code}:{name}")
    assert type(model.module).__name__ == "Plain"
    assert not model.module.training
    assert model.name == ("mine" if name == "wrapped" else f"{code}:{name}")
    assert (model.preprocessing is None) == (name != "wrapped")


def test_a_module_on_the_path_is_imported(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(code).parent)
    model = load("shape_net:build")
    assert type(model.module).__module__ == "shape_net"
    assert model.name == "shape_net:build"


def test_random_weights_are_the_same_every_time_and_no_random_state_moves(code: str) -> None:
    before = torch.get_rng_state()
    first, second = load(f"{code}:build"), load(f"{code}:build")
    assert_close(first.module.state_dict(), second.module.state_dict(), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_are_found_in_a_checkpoint(code: str, tmp_path: Path) -> None:
    trained = load(f"{code}:build").module
    nn.init.normal_(trained.fc.weight)
    torch.save(
        {"model": {f"module.{k}": v for k, v in trained.state_dict().items()}, "epoch": 3}, tmp_path / "w.pt"
    )
    model = load(f"{code}:build", weights=tmp_path / "w.pt")
    assert_close(model.module.state_dict(), trained.state_dict(), rtol=0, atol=0)
    assert model.name.endswith(":build (w.pt)")
    torch.save({"fc.weight": torch.zeros(5, 4)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="belong to another network"):
        load(f"{code}:build", weights=tmp_path / "other.pt")


def test_what_is_stated_replaces_what_the_model_says(code: str) -> None:
    model = load(f"{code}:wrapped", input_size=(12, 10), labels=["no", "yes"])
    assert model.preprocessing.input_size == model.preprocessing.resize_px == (12, 10)
    assert model.preprocessing.mean == (0.5,) * 3
    assert model.labels == ("no", "yes")
    model = load(f"{code}:build", input_size=(8, 6), mean=[0.1] * 3, std=[0.2] * 3)
    assert (model.preprocessing.input_size, model.preprocessing.std) == ((8, 6), (0.2,) * 3)
    with pytest.raises(ParameterError, match="does not state all of its preprocessing: give std= too"):
        load(f"{code}:build", input_size=(8, 6), mean=[0.1] * 3)


def test_an_entry_of_the_output_is_chosen(code: str) -> None:
    x = torch.randn(2, 3, 8, 8)
    model = load(f"{code}:Net", output="logits")
    assert_close(torch.from_numpy(model.predict(x).scores), load(f"{code}:Plain").module(x).detach())
    assert [layer.name for layer in model.layers((8, 8))] == ["conv", "fc"]


def test_an_entry_is_chosen_of_a_model_that_chose_another_one(code: str) -> None:
    """In the output of the network, with any of its inputs held."""
    model, x, shift = load(f"{code}:with_inputs", output="logits"), torch.randn(2, 3, 8, 8), torch.randn(2, 1)
    plain = model.network(x, shift)["logits"].detach()
    assert_close(torch.from_numpy(model.predict(x).scores), plain - shift + 3)
    assert_close(torch.from_numpy(model.predict({"x": x[:1], "shift": shift[:1]}).scores), plain[:1])


def test_who_calls_says_whether_an_image_shows_several_classes(code: str) -> None:
    assert not load(f"{code}:build").multilabel
    model, x = load(f"{code}:build", multilabel=True), torch.randn(1, 3, 8, 8)
    assert model.multilabel
    scores = model.module(x).detach().numpy()
    assert model.predict(x).probabilities == pytest.approx(1 / (1 + np.exp(-scores)), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("of_classes", r"needs arguments \(n, deep\), and is called without any"),
        ("fails", r"calling .*:fails\(\) failed: KeyError: 'config' \(.*shape_net.py:23: raise KeyError"),
        ("state", "returned an OrderedDict; expected .*: a state dict is only the weights"),
        ("pair", "returned a tuple; expected .*: it holds a network among other things"),
        ("VALUE", r"is an int; expected a function that returns a torch.nn.Module or a convscope.Model$"),
        ("bulid", r"'bulid' is not in .*; did you mean build\?"),
    ],
)
def test_anything_else_is_refused(code: str, name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(f"{code}:{name}")


def test_a_name_of_no_module_is_a_name_of_no_network() -> None:
    with pytest.raises(ModelError, match=r"'torchvison:resnet18' \(did you mean 'torchvision:resnet18'"):
        load("torchvison:resnet18")
