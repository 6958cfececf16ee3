"""Read weights from files without running code from them."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from .file_kinds import Kind, kind_of

# Training scripts save their options with the weights. Unpickling this class can only set its attributes.
_HARMLESS = (argparse.Namespace,)

# Files that hold a whole network: what the error says about each, and how it is loaded.
_WHOLE: dict[Kind, tuple[str, str]] = {
    "onnx": ("is an ONNX graph", "load_model(PATH)"),
    "torchscript": ("is a network in TorchScript (torch.jit.save)", "load_model(PATH)"),
    "exported": ("is an exported program (torch.export.save)", "load_model(PATH)"),
}


def read_content(path: str | Path) -> Mapping[Any, Any]:
    """Read a .pt, .pth or .safetensors file, with tensors on the CPU; refuse a file that would run code.

    Cost: about as much memory as the size of the file; see `kind_of`.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind in _WHOLE:
        what, load = _WHOLE[kind]
        raise ModelError(
            f"{path}: {what}, not weights: load it as it is, {load}, or save the state_dict() of the module it "
            "was made from"
        )
    content = _read_safetensors(path) if kind == "safetensors" else _read_pickled(path, is_zip=kind == "zip")
    if isinstance(content, nn.Module) or not isinstance(content, Mapping):
        raise ModelError(
            f"{path}: holds a {type(content).__name__}, not a state dict (a mapping from names to tensors)"
        )
    return content


def _read_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:
        raise ModelError(f"{path}: not a readable safetensors file ({error})") from error


def _read_pickled(path: Path, *, is_zip: bool) -> Any:
    marked = torch.serialization.get_safe_globals()
    try:
        # Pass the open file, since torch trusts a name that ends in .safetensors; memory mapping needs the name.
        with (
            path.open("rb") as file,
            torch.serialization.safe_globals([kind for kind in _HARMLESS if kind not in marked]),
        ):
            is_mapped = is_zip and path.suffix != ".safetensors"
            return torch.load(path if is_mapped else file, map_location="cpu", weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"a {found[1]} besides its weights" if found else "more than weights (a whole pickled model?)"
        raise ModelError(
            f"{path}: holds {what}, or is damaged, and loading it could run any code. Save only the weights, "
            "torch.save(model.state_dict(), PATH), or, if you trust the file and it holds a whole model, "
            "load_model(PATH, trust_pickle=True)"
        ) from error
    except Exception as error:
        raise ModelError(f"{path}: not a readable checkpoint ({summary(error)})") from error


def read_module(path: str | Path, *, trust_pickle: bool) -> nn.Module:
    """A whole pickled network: runs whatever code the file asks for, so only with ``trust_pickle=True``."""
    path = Path(path)
    kind = kind_of(path)
    if kind == "safetensors":
        raise ModelError(
            f"{path}: holds only weights; give their architecture, load_model('torchvision:NAME' or 'timm:NAME', "
            "weights=PATH)"
        )
    if not trust_pickle:
        raise ModelError(
            f"{path}: a file of this kind is a network by itself only if it is a pickled model, and loading that "
            "can run any code. Give its architecture, load_model('torchvision:NAME' or 'timm:NAME', "
            "weights=PATH), or, if you trust the file, trust_pickle=True"
        )
    try:
        module = torch.load(path, map_location="cpu", weights_only=False)
    except (AttributeError, ModuleNotFoundError) as error:
        raise ModelError(
            f"{path}: its classes are not available ({summary(error)}): import or define them as in the program "
            "that saved it"
        ) from error
    except Exception as error:
        raise ModelError(f"{path}: not a readable pickled model ({summary(error)})") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{path}: holds a {type(module).__name__}, not a network; pass it as weights=")
    return module


def summary(error: Exception) -> str:
    """The first line of a message, shortened, without PyTorch's advice to run code from the file."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return type(error).__name__ if "weights_only" in lines[0] else lines[0][:200]
