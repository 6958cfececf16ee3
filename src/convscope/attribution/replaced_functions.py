"""Networks that run some of their functions by other rules, for the time being."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch.overrides import TorchFunctionMode

from ..errors import ModelError
from ..execution.folding import Folding
from ..execution.one_pass import known_chains
from .method_run import Run

# In place of func(*args, **kwargs); func itself comes first.
Replacement: TypeAlias = Callable[..., Any]


class Replaced(TorchFunctionMode):
    """Inside, calls of some functions are replaced, wherever in the network they are made.

    Functions are replaced, not modules: an activation module that is used twice, one that works in place and a
    plain ``F.relu`` are treated alike. ``calls`` counts those between the image and the score.
    """

    def __init__(self, table: Mapping[Any, Replacement]) -> None:
        super().__init__()
        self._table = table
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        replacement = self._table.get(func)
        if replacement is None:
            return func(*args, **(kwargs or {}))
        self.calls += any(isinstance(value, torch.Tensor) and value.requires_grad for value in args)
        return replacement(func, *args, **(kwargs or {}))


@contextmanager
def replaced(run: Run, table: Mapping[Any, Replacement]) -> Iterator[Replaced]:
    """`Replaced` for one pass of a method: a note where a rule could not reach, `ModelError` where none reached.

    Functions inside TorchScript, or with a backward pass of their own, cannot be seen. Folding begins last, so
    that it sees each function first, and the rules see folded convolutions.
    """
    with Replaced(table) as replacing, Folding(known_chains(run.model.module)):
        yield replacing
    hidden = run.structure.hidden
    if not hidden:
        return
    functions = f"{', '.join(hidden[:4])}{', ...' if len(hidden) > 4 else ''}"
    if not replacing.calls:
        raise ModelError(
            f"{run.method} has rules for the functions of a network, and none of them can be seen in "
            f"{run.model.name} (TorchScript? {functions}): give the nn.Module it was made from, or use saliency, "
            "integrated_gradients or occlusion"
        )
    run.note(
        f"{functions}: run in TorchScript or with a backward pass of their own, so the rules of {run.method} do "
        "not apply there; the plain gradient was used"
    )
