"""Networks that run some of their functions by other rules, for the time being."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from ..errors import ModelError
from ..execution.conv_chains import ConvChain
from ..execution.one_pass import OnePass
from .method_run import Run

# PyTorch's attention module calls one function, which hands itself over to a mode as a whole. This is that
# function without the handing over: the projections, products and softmax inside it are seen one by one.
_MULTI_HEAD = functional.multi_head_attention_forward
_MULTI_HEAD_INSIDE = FunctionType(
    _MULTI_HEAD.__code__,
    {**_MULTI_HEAD.__globals__, "has_torch_function": lambda _: False},
    argdefs=_MULTI_HEAD.__defaults__,
)

# In place of func(*args, **kwargs); func itself comes first.
Replacement: TypeAlias = Callable[..., Any]


class Replaced(OnePass):
    """Inside, calls of some functions are replaced, wherever in the network they are made.

    Functions are replaced, not modules: an activation module that is used twice, one that works in place and a
    plain ``F.relu`` are treated alike. ``calls`` counts those between the image and the score. Where convolutions
    have a rule, it sees them with their norms.
    """

    def __init__(self, module: nn.Module, table: Mapping[Any, Replacement]) -> None:
        super().__init__(module)
        self._table = table
        self.calls = 0

    def folds(self, chain: ConvChain, x: torch.Tensor) -> bool:
        return functional.conv2d in self._table or super().folds(chain, x)

    def plainly(self, func: Any, args: Any, kwargs: Any) -> Any:
        replacement = self._table.get(func)
        if replacement is None and func is _MULTI_HEAD:
            return self._multi_head(args, kwargs)
        if replacement is None:
            return super().plainly(func, args, kwargs)
        self.calls += any(isinstance(value, torch.Tensor) and value.requires_grad for value in args)
        return replacement(func, *args, **kwargs)

    def _multi_head(self, args: Any, kwargs: Any) -> Any:
        """PyTorch's attention, with its inside replaced; the weights that it returns are computed once more."""
        with self:
            out, _ = _MULTI_HEAD_INSIDE(*args, **{**kwargs, "need_weights": False})
        return out, _MULTI_HEAD(*args, **kwargs)[1] if kwargs.get("need_weights", True) else None


@contextmanager
def replaced(run: Run, table: Mapping[Any, Replacement]) -> Iterator[Replaced]:
    """`Replaced` for one pass of a method: a note where a rule could not reach, `ModelError` where none reached.

    Functions inside TorchScript, or with a backward pass of their own, cannot be seen.
    """
    with Replaced(run.model.module, table) as replacing:
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
