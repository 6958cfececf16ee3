"""TorchScript files that were made to do harm: each is refused before any of it runs."""

from __future__ import annotations

import importlib.util
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from numpy.testing import assert_allclose

from convscope import ModelError, load_model
from convscope.models.known_operations import problem_with
from convscope.models.scripted import read_scripted

from .onnx_graphs import network

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def written(path: Path, code: str, *, before: str = "") -> Path:
    """A TorchScript file of a network whose ``forward`` begins with this code."""
    source = path.with_name("harmful_network.py")
    source.write_text(
        "import torch\nfrom torch import nn\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(3, 2)\n\n"
        f"{before}\n"
        f"    def forward(self, x: torch.Tensor) -> torch.Tensor:\n        {code}\n"
        "        return self.fc(x.mean(dim=[2, 3]))\n"
    )
    spec = importlib.util.spec_from_file_location("harmful_network", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module.Net()), path)
    return path


SETSTATE = """
    @torch.jit.export
    def __getstate__(self):
        return (self.fc.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        torch.save(state[0], {mark!r})
        self.training = state[1]
"""
HARMFUL = {
    "a file that is written": ("torch.save(x, {mark!r})", r"aten::save, .* a text \(filename\)"),
    "a file that is mapped": ("x = x + torch.from_file({mark!r}, True, 4).sum()", "aten::from_file"),
    "a file that is read": ("x = x + torch.ops.image.read_file({mark!r}).float().mean()", "operations of image"),
    "an unchecked operation": (
        "k = torch.zeros(1, 1).long()\n"
        "        x = x + torch.ops.aten._sparse_coo_tensor_unsafe(k, torch.ones(1), [1]).to_dense()",
        "aten::_sparse_coo_tensor_unsafe, which is internal",
    ),
}


@pytest.mark.parametrize("attack", HARMFUL)
def test_harmful_code(tmp_path: Path, attack: str) -> None:
    code, message = HARMFUL[attack]
    path = written(tmp_path / "net.ts", code.format(mark=str(tmp_path / "mark")))
    with pytest.raises(ModelError, match=rf"was not loaded.*{message}"):
        load_model(path, device="cpu")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("part", "more"),
    [("harmful_network", b"# torch.classes.cuda.Stream"), ("data.pkl", b"c__torch__.torch\nclasses.cuda.S\n")],
)
def test_a_class_of_a_library(tmp_path: Path, part: str, more: bytes) -> None:
    file = written(tmp_path / "plain.ts", "pass")
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(tmp_path / "net.ts", "w") as made:
        names = [name for name in archive.namelist() if part in name and not name.endswith("debug_pkl")]
        assert len(names) == 1
        for name in archive.namelist():
            made.writestr(name, archive.read(name) + (more if name in names else b""))
    with pytest.raises(ModelError, match="asks for a class of a library"):
        load_model(tmp_path / "net.ts", device="cpu")


def test_code_that_runs_while_a_file_is_read(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = written(tmp_path / "net.ts", "pass", before=SETSTATE.format(mark=str(mark)))
    mark.unlink(missing_ok=True)
    with pytest.raises(ModelError, match="runs while it is read"):
        load_model(path, device="cpu")
    assert not mark.exists()
    with pytest.raises(ModelError, match="not a readable network"):  # as this one leaves itself unfinished
        load_model(path, device="cpu", trust_pickle=True)
    assert mark.exists()


def test_operations_are_seen_in_the_graphs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the words of the code do not give away, the compiled graphs do."""
    path = written(tmp_path / "net.ts", f"torch.save(x, {str(tmp_path / 'mark')!r})")
    monkeypatch.setattr("convscope.models.scripted.refuse_harmful_code", lambda archive: None)
    with pytest.raises(ModelError, match="aten::save"):
        read_scripted(path, trust_pickle=False)
    assert not (tmp_path / "mark").exists()


def test_harmless_networks_need_no_trust(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, made in enumerate((torch.jit.script(network()), torch.jit.trace(network(), X))):
            torch.jit.save(made, tmp_path / f"{i}.ts")
            model = load_model(tmp_path / f"{i}.ts", device="cpu")
            assert_allclose(model.predict(X).scores, network()(X).detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "aten::conv2d",
        "aten::_convolution",
        "aten::__getitem__",
        "prim::If",
        "torchvision::nms",
        "aten::pad",
        "aten::div",
    ],
)
def test_operations_that_compute(name: str) -> None:
    assert problem_with(name) is None


@pytest.mark.parametrize(
    "name",
    ["aten::save", "aten::from_file", "image::write_file", "prim::rpc_sync", "c10d::barrier", "aten::no_such"],
)
def test_operations_that_act(name: str) -> None:
    assert problem_with(name)
