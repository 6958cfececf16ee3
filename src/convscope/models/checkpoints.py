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
from .archives import kind_of

# Training scripts put their options beside the weights. Of this class nothing but its attributes can be set.
_HARMLESS = (argparse.Namespace,)


def read_content(path: str | Path) -> Mapping[Any, Any]:
    """What is in a .pt, .pth or .safetensors file, tensors on the CPU; one that would have to run code is refused.

    Cost: no more memory than the size of the file; see `kind_of`.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind == "torchscript":
        raise ModelError(
            f"{path}: is a network in TorchScript (torch.jit.save), not its weights: give it alone, "
            "load_model(PATH, trust_pickle=True), if you trust it, or save the state_dict() of what it was made of"
        )
    content = _read_safetensors(path) if kind == "safetensors" else _read_pickled(path, is_zip=kind == "zip")
    if isinstance(content, nn.Module) or not isinstance(content, Mapping):
        raise ModelError(
            f"{path}: holds a {type(content).__name__}, no state dict (a mapping from names to tensors)"
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
        # By the file, as a name that ends in .safetensors is taken at its word; what is mapped needs a name.
        with (
            path.open("rb") as file,
            torch.serialization.safe_globals([kind for kind in _HARMLESS if kind not in marked]),
        ):
            is_mapped = is_zip and path.suffix != ".safetensors"
            return torch.load(path if is_mapped else file, map_location="cpu", weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"a {found[1]} beside its weights" if found else "more than weights (a whole pickled model?)"
        raise ModelError(
            f"{path}: holds {what}, or is damaged, and loading it could run any code. Save the weights alone, "
            "torch.save(model.state_dict(), PATH), or, if you trust the file and a whole model is in it, "
            "load_model(PATH, trust_pickle=True)"
        ) from error
    except Exception as error:
        raise ModelError(f"{path}: not a readable checkpoint ({_said(error)})") from error


def read_module(path: str | Path, *, trust_pickle: bool) -> nn.Module:
    """A whole pickled network: runs whatever code the file asks for, so only with ``trust_pickle=True``."""
    path = Path(path)
    kind = kind_of(path)
    if kind == "safetensors":
        raise ModelError(
            f"{path}: holds weights alone; give their architecture, load_model('torchvision:NAME' or 'timm:NAME', "
            "weights=PATH)"
        )
    if not trust_pickle:
        what = "TorchScript or a pickled model" if kind == "torchscript" else "a pickled model"
        raise ModelError(
            f"{path}: a file alone is a network only if it is {what}, and loading that can run any "
            "code. Give its architecture, load_model('torchvision:NAME' or 'timm:NAME', weights=PATH), or, if "
            "you trust the file, trust_pickle=True"
        )
    try:
        if kind == "torchscript":
            module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
        else:
            module = torch.load(path, map_location="cpu", weights_only=False)
    except (AttributeError, ModuleNotFoundError) as error:
        raise ModelError(
            f"{path}: its classes are not here ({_said(error)}): import or define them as where it was saved"
        ) from error
    except Exception as error:
        raise ModelError(f"{path}: not a readable pickled model ({_said(error)})") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{path}: holds a {type(module).__name__}, not a network; pass it as weights=")
    return module


def _said(error: Exception) -> str:
    """The first line, short; PyTorch advises to have code from files run, which is left out."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return type(error).__name__ if "weights_only" in lines[0] else lines[0][:200]
