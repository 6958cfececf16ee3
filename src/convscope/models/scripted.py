"""Networks in TorchScript (torch.jit.save)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..errors import ModelError
from ..execution.silence import silence
from .checkpoints import summary
from .program_archives import ProgramArchive
from .script_checks import refuse_harmful_code, refuse_harmful_operations


def read_scripted(path: Path, *, trust_pickle: bool) -> nn.Module:
    """The network of a TorchScript file; unless it is trusted, one whose code only computes."""
    try:
        with path.open("rb") as file, silence():
            if not trust_pickle:
                refuse_harmful_code(ProgramArchive(file, path))
            file.seek(0)
            module: nn.Module = torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]
            if not trust_pickle:
                refuse_harmful_operations(module, path)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path}: not a readable network in TorchScript ({summary(error)})") from error
    return module
