"""Weights in files: in whatever wrapping they come, or a sentence that says what the file is."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save, save_file
from torch import nn
from torch.testing import assert_close

from convscope import Model, ModelError, ParameterError, load_model

NAME = "timm:test_resnet.r160_in1k"
State = dict[str, torch.Tensor]


def network(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model("test_resnet", num_classes=5)


def loaded(path: Path) -> Model:
    return load_model(NAME, weights=path, device="cpu")


def assert_weights(model: Model, expected: nn.Module) -> None:
    assert_close(dict(model.module.state_dict()), dict(expected.state_dict()), atol=0, rtol=0)


def below(prefix: str) -> Callable[[State], Any]:
    return lambda state: {prefix + key: tensor for key, tensor in state.items()}


def lightning(state: State) -> Any:
    inside = {f"net.backbone.{key}": tensor for key, tensor in state.items()}
    return {
        "state_dict": {**inside, "criterion.weight": torch.ones(5)},
        "hyper_parameters": {"lr": 0.1},
        "epoch": 3,
    }


def training(state: State) -> Any:
    adam = {i: {"step": torch.tensor(3.0), "exp_avg": tensor} for i, tensor in enumerate(state.values())}
    options = argparse.Namespace(lr=0.1, arch="resnet")
    return {"epoch": 3, "args": options, "optimizer": {"state": adam, "param_groups": [{"lr": 0.1}]}, "net": state}


WRAPPINGS: dict[str, Callable[[State], Any]] = {
    **{f"under {key}": lambda s, key=key: {key: s, "epoch": 3} for key in ("network", "weights", "params", "ema")},
    **{
        f"below {prefix}": below(prefix)
        for prefix in ("module.", "module.module.", "_orig_mod.", "module._orig_mod.", "model.", "encoder.net.")
    },
    "compiled inside": lambda s: {key.replace("layer1.", "layer1._orig_mod."): v for key, v in s.items()},
    "Lightning": lightning,
    "with optimizer and options": training,
    "twice wrapped": lambda s: {"checkpoint": {"model": below("module.")(s)}},
    "in half precision": lambda s: {key: v.half().float() if v.is_floating_point() else v for key, v in s.items()},
    "beside a counter": lambda s: {**s, "epoch": 3},
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_weights_are_found_in_their_wrapping(tmp_path: Path, name: str) -> None:
    expected, path = network(), tmp_path / "w.pth"
    if name == "in half precision":
        expected = expected.half().float()
    torch.save(WRAPPINGS[name](expected.state_dict()), path)
    model = loaded(path)
    assert_weights(model, expected)
    assert not model.notes


@pytest.mark.parametrize("prefix", ["module.", "model._orig_mod."])
def test_so_they_are_in_safetensors(tmp_path: Path, prefix: str) -> None:
    expected = network()
    save_file(below(prefix)(expected.state_dict()), tmp_path / "w.safetensors")
    assert_weights(loaded(tmp_path / "w.safetensors"), expected)


@pytest.mark.parametrize(
    ("content", "suffix"), [("zip", ".safetensors"), ("safetensors", ".pth"), ("old", ".bin")]
)
def test_what_a_file_is_its_content_says_and_not_its_name(tmp_path: Path, content: str, suffix: str) -> None:
    expected, path = network(), tmp_path / f"w{suffix}"
    if content == "safetensors":
        path.write_bytes(save(dict(expected.state_dict())))
    else:
        torch.save(expected.state_dict(), path, _use_new_zipfile_serialization=content == "zip")
    assert_weights(loaded(path), expected)


# --- files that are something else -------------------------------------------------------------------------


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("w.pth"))
    return out.getvalue()


def npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, weight=np.zeros(3))
    return out.getvalue()


def script() -> bytes:
    out = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten()), torch.zeros(1, 3, 8, 8)), out)
    return out.getvalue()


OTHERS: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "empty": (b"", "is empty"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "web page": (b"\n<!DOCTYPE html><html>Sign in</html>", "web page"),
    "text": (b"accuracy,loss\n0.9,0.1\n", "is a text file"),
    "gzip": (b"\x1f\x8b\x08 and so on", "unpack it first"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0", "is an ONNX graph"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "Keras"),
    "tar": (tar, "is a tar archive"),
    "npz": (npz, "NumPy arrays"),
    "half a zip": (b"PK\x03\x04" + bytes(100), "is cut short or damaged"),
    "half a pickle": (b"\x80\x02}q\x00", "not a readable checkpoint"),
    "bytes": (b"\x00\xff\x12\x99" * 9, "is neither a PyTorch file"),
    "a pickle of something": (pickle.dumps({"a": 1}), "w.pth"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_weights_is_called_what_it_is(tmp_path: Path, name: str) -> None:
    content, said = OTHERS[name]
    path = tmp_path / "w.pth"
    path.write_bytes(content if isinstance(content, bytes) else content())
    with pytest.raises(ModelError, match=said) as caught:
        loaded(path)
    assert str(path) in str(caught.value)
    assert "weights_only" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")
@pytest.mark.parametrize("name", ["w.pth", "w.onnx"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ModelError, match="is no regular file"):
        load_model(tmp_path / name)


@pytest.mark.parametrize("name", [f"{300 * 'x'}.onnx", 300 * "x", f"hf:{300 * 'x'}"])
def test_a_name_longer_than_any_files_is_no_network(name: str) -> None:
    with pytest.raises(ModelError, match=r"cannot be read|no network|no such folder"):
        load_model(name)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_is_a_network_and_not_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(script())
    with pytest.raises(ModelError, match="TorchScript"):
        loaded(path)
    assert load_model(path, device="cpu").predict(torch.zeros(1, 3, 8, 8)).scores.shape[1] == 2


def test_what_would_run_code_is_named_and_nobody_is_told_to_let_it(tmp_path: Path) -> None:
    torch.save({"model": network().state_dict(), "best": np.float64(0.9)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"multiarray\.scalar besides its weights") as caught:
        loaded(tmp_path / "w.pth")
    assert "weights_only" not in str(caught.value)


def test_marks_of_the_users_own_stay(tmp_path: Path) -> None:
    torch.save(training(network().state_dict()), tmp_path / "w.pth")
    for own in ([argparse.Namespace], []):
        with torch.serialization.safe_globals(own):
            loaded(tmp_path / "w.pth")
            assert (argparse.Namespace in torch.serialization.get_safe_globals()) == bool(own)


@pytest.mark.parametrize("given", [3, {"conv1.weight": torch.zeros(1)}, nn.Linear(2, 2), b"w.pth"], ids=repr)
def test_weights_are_a_path(given: Any) -> None:
    with pytest.raises(ParameterError, match="expected a path"):
        load_model(NAME, weights=given)


@pytest.mark.parametrize("given", [None, 3, [], nn.Linear(2, 2)], ids=repr)
def test_a_name_is_a_name(given: Any) -> None:
    with pytest.raises(ParameterError, match="expected a path"):
        load_model(given)


# --- tensors that are no weights ---------------------------------------------------------------------------


def broken(kind: str, tensor: torch.Tensor) -> torch.Tensor:
    if kind == "sparse":
        return tensor.to_sparse()
    if kind == "meta":
        return tensor.to("meta")
    if kind == "quantized":
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)
    if kind == "infinite in float32":
        return tensor.double() * 1e300
    if kind in ("NaN", "infinite"):
        tensor = tensor.clone()
        tensor.view(-1)[1] = float("nan" if kind == "NaN" else "-inf")
        return tensor
    return tensor.to(getattr(torch, kind))


@pytest.mark.filterwarnings("ignore")  # PyTorch's own on quantized tensors
@pytest.mark.parametrize(
    "kind",
    [
        *("sparse", "meta", "quantized", "NaN", "infinite", "infinite in float32"),
        *("int8", "complex64", "bool", "float8_e4m3fn", "float8_e5m2"),
    ],
)
def test_tensors_that_no_network_runs_with_are_refused(tmp_path: Path, kind: str) -> None:
    state = dict(network().state_dict())
    state["fc.weight"] = broken(kind, state["fc.weight"])
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=rf"a network cannot run with these weights \(.*{kind}.*: fc\.weight"):
        loaded(tmp_path / "w.pth")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_and_double_precision_are_fine(tmp_path: Path, dtype: torch.dtype) -> None:
    expected = network()
    torch.save(expected.to(dtype).state_dict(), tmp_path / "w.pth")
    assert_weights(loaded(tmp_path / "w.pth"), expected.float())


# --- files that claim more than they are ---------------------------------------------------------------------


def rewritten(path: Path, compression: int, change: Callable[[str, bytes], bytes] = lambda _, data: data) -> None:
    torch.save({"w": torch.zeros(2**18)}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records.items():
            archive.writestr(name, change(name, data))


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    rewritten(tmp_path / "w.pth", zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="compressed archive"):
        loaded(tmp_path / "w.pth")


def test_one_that_claims_more_than_it_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    rewritten(path, zipfile.ZIP_STORED)
    with zipfile.ZipFile(path) as archive:
        n_records = len(archive.namelist())
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    for _ in range(n_records):  # the sizes in the directory at the end
        data[at + 24 : at + 28] = (2**30).to_bytes(4, "little")
        at = data.find(b"PK\x01\x02", at + 4)
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"claims .* bytes"):
        loaded(path)


def test_one_of_mostly_python_objects_is_refused(tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        return b"\x80\x02(" + b"]" * 2**25 + b"l." if name.endswith("data.pkl") else data

    rewritten(tmp_path / "w.pth", zipfile.ZIP_STORED, change)
    with pytest.raises(ModelError, match="32 MiB of Python objects"):
        loaded(tmp_path / "w.pth")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.slow
def test_a_large_checkpoint_takes_no_memory_for_what_is_beside_its_weights(tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save({"model": state, "optimizer": {"state": torch.zeros(2**27)}}, tmp_path / "w.pth")  # 512 MiB
    code = f"""
        import re
        from pathlib import Path
        from convscope import load_model
        def peak():
            return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
        load_model({NAME!r}, pretrained=False, device="cpu")
        before = peak()
        load_model({NAME!r}, weights={str(tmp_path / "w.pth")!r}, device="cpu")
        print(peak() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 256
