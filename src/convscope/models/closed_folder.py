"""A folder as transformers saves a network: its JSON and its weights, read without leaving it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError
from .checkpoints import read_content

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_LARGEST_JSON = 2**24


@dataclass(frozen=True)
class ClosedFolder:
    """Files of a folder, none of which may lie outside of it."""

    root: Path

    def __post_init__(self) -> None:
        if not os.path.isdir(self.root):
            raise ModelError(
                f"{self.root}: no such folder. 'hf:FOLDER' takes a folder on this machine and downloads nothing: "
                f"fetch one with `hf download {self.root} --local-dir FOLDER`"
            )

    def file(self, name: str) -> Path | None:
        """A file by its name; None if there is none, `ModelError` if it lies outside, by its name or by a link."""
        path = self.root / name
        try:
            is_inside = path.resolve().is_relative_to(self.root.resolve())
        except (OSError, ValueError, RuntimeError) as error:  # a circle of links, a name that cannot be
            raise ModelError(f"{self.root}: {name!r} cannot be read ({error})") from error
        if not is_inside:
            raise ModelError(
                f"{path}: lies outside of its folder ({path.resolve()}), and nothing outside is read. In "
                "transformers' cache files are links: copy the folder with what they lead to (cp -rL), or use "
                "`hf download NAME --local-dir FOLDER`"
            )
        return path if path.is_file() else None

    def json(self, name: str) -> dict[str, Any] | None:
        """What a file of JSON holds; None if there is no such file."""
        path = self.file(name)
        if path is None:
            return None
        if path.stat().st_size > _LARGEST_JSON:
            raise ModelError(f"{path}: {path.stat().st_size:,} bytes; expected at most {_LARGEST_JSON:,}")
        try:
            found = json.loads(path.read_bytes())
        except (ValueError, RecursionError, OSError) as error:
            raise ModelError(f"{path}: is not readable JSON ({error})") from error
        if not isinstance(found, dict):
            raise ModelError(f"{path}: holds a {type(found).__name__}; expected an object")
        return found

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights by name, from one file or from the parts that an index lists."""
        single, index = self.file(_WEIGHTS), self.json(_INDEX)
        if single is not None:
            return dict(read_content(single))
        if index is None:
            pickled = [name for name in _PICKLED if self.file(name)]
            raise ModelError(
                f"{self.root}: has its weights only as a pickle ({pickled[0]}), which can run any code when it is "
                "read. If you trust it, save it once more from transformers: network.save_pretrained(FOLDER)"
                if pickled
                else f"{self.root}: has no {_WEIGHTS} and no {_INDEX}"
            )
        parts = index.get("weight_map")
        if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
            raise ModelError(f"{self.root / _INDEX}: has no weight_map from names to files")
        found: dict[str, torch.Tensor] = {}
        for part in sorted(set(parts.values())):
            path = self.file(part)
            if path is None:
                raise ModelError(f"{self.root}: lacks {part}, a part of its weights by {_INDEX}")
            if path.suffix != ".safetensors":
                raise ModelError(f"{path}: expected a .safetensors file")
            found.update(read_content(path))
        return found
