"""Read weights from files without running code from them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ModelError


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """A state dict from .pt, .pth or .safetensors; a file that would have to run code is refused."""
    path = _existing(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except Exception as error:
            raise ModelError(f"{path}: not a readable safetensors file ({error})") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: holds more than weights (a whole pickled model?) or is damaged, and loading it could "
            "run any code. Save model.state_dict() instead, or, if you trust the file, "
            "load_model(PATH, trust_pickle=True)"
        ) from error
    except Exception as error:
        raise ModelError(f"{path}: not a readable checkpoint ({error})") from error
    return _state_dict(content, path)


def read_module(path: str | Path, *, trust_pickle: bool) -> nn.Module:
    """A whole pickled network: runs whatever code the file asks for, so only with ``trust_pickle=True``."""
    path = _existing(path)
    if path.suffix == ".safetensors":
        raise ModelError(
            f"{path}: holds weights alone; give their architecture, load_model('torchvision:NAME' or 'timm:NAME', "
            "weights=PATH)"
        )
    if not trust_pickle:
        raise ModelError(
            f"{path}: a file alone is a network only if it is a pickled model, and loading that can run any "
            "code. Give its architecture, load_model('torchvision:NAME' or 'timm:NAME', weights=PATH), or, if "
            "you trust the file, trust_pickle=True"
        )
    try:
        module = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise ModelError(f"{path}: not a readable pickled model ({error})") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{path}: holds a {type(module).__name__}, not a network; pass it as weights=")
    return module


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    return path


def _state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The tensors themselves, out of the wrappings that training scripts put around them."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(v, torch.Tensor) for key, v in content.items()
    ):
        raise ModelError(f"{path}: no state dict (a mapping from names to tensors) in it")
    if all(key.startswith("module.") for key in content):  # saved from DataParallel
        return {key.removeprefix("module."): tensor for key, tensor in content.items()}
    return dict(content)


def fit_weights(module: nn.Module, weights: dict[str, torch.Tensor], source: str) -> None:
    """Load a state dict; `ModelError` lists what does not fit."""
    own = module.state_dict()
    # Checkpoints from before PyTorch 0.4.1 have no such counters, and evaluation does not use them.
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    extra = [key for key in weights if key not in own]
    reshaped = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    ]
    problems = [
        f"{what}: {', '.join(keys[:4])}{f' and {len(keys) - 4} more' if len(keys) > 4 else ''}"
        for what, keys in (("missing", missing), ("unknown", extra), ("of another shape", reshaped))
        if keys
    ]
    if problems:
        raise ModelError(f"{source}: the weights are of another network ({'; '.join(problems)})")
    module.load_state_dict(weights, strict=False)
