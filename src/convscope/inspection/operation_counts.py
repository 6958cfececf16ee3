"""One run of a network, seen as calls of its modules: their outputs, parameters, and multiplications.

Multiplications with an addition (MACs) are counted where ATen computes them, so functions called in ``forward``
count as well as modules. Biases, norms, activations, pooling and resizing are not counted, as is usual.

    convolution            output values * weights of one output value
    matrix product         (m, k) (k, n): m * k * n
    attention              queries * keys * (width of keys + width of values), for each head
    recurrent layer        steps * weights
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..execution import differentiable, main_output
from ..execution.hooking import hooks
from ..models import PASSING


@dataclass(frozen=True)
class Call:
    """One call of a module. ``shape`` is its output's without the batch; parameters and MACs are its own, without
    those of the modules inside it. ``is_leaf``: whether there are none.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    n_parameters: int
    n_macs: int
    is_leaf: bool

    @property
    def computes(self) -> bool:
        return bool(self.is_leaf or self.n_parameters or self.n_macs)


@dataclass
class Counted:
    """The calls in running order, the ``output`` of the network, and the operations that were not counted."""

    calls: list[Call] = field(default_factory=list)
    n_macs: int = 0
    uncounted: set[str] = field(default_factory=set)
    output: Any = None


def counted(module: nn.Module, x: torch.Tensor) -> Counted:
    """Run a network on one input (1, C, ...) and count.

    With gradients, because without them some layers of PyTorch run as one operation that shows nothing.
    """
    found, seen = Counted(), set[int]()
    inside = [0]  # MACs of each module that has not returned yet; the first is for what is outside of all
    counts: dict[str, int] = defaultdict(int)

    def add(n: int) -> None:
        inside[-1] += n
        found.n_macs += n

    def entering(*_: Any) -> None:
        inside.append(0)

    def leaving(name: str) -> Callable[..., None]:
        def left(child: nn.Module, _: Any, output: Any) -> None:
            n_macs, full = inside.pop(), f"{name}:{counts[name]}" if counts[name] else name
            counts[name] += 1
            own = [p for p in child._parameters.values() if p is not None and id(p) not in seen]
            seen.update(map(id, own))
            main = main_output(output)
            if main is not None and not isinstance(child, PASSING):
                n_own, is_leaf = sum(p.numel() for p in own), next(child.children(), None) is None
                shape = tuple(main.shape[1:])
                found.calls.append(Call(full, type(child).__name__, shape, n_own, n_macs, is_leaf))

        return left

    with differentiable(module), hooks() as attached:
        for child, name in {child: name for name, child in module.named_modules()}.items():
            if not isinstance(child, torch.jit.ScriptModule):  # which takes no hooks
                attached.append(child.register_forward_pre_hook(entering))
                attached.append(child.register_forward_hook(leaving(name)))
        with _Counting(add, found.uncounted):
            found.output = module(x.clone().requires_grad_())
    return found


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Reports the MACs of each operation inside."""

    def __init__(self, add: Callable[[int], None], uncounted: set[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._add, self._uncounted = add, uncounted

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        namespace, _, name = func._schema.name.partition("::")
        name = name.rstrip("_")
        if namespace == "aten" and name in _MACS:
            self._add(_MACS[name](args, out))
        elif namespace == "aten" and name.startswith(_ATTENTION):
            self._add(_attention(args))
        elif namespace not in ("aten", "prim", "prims") or name in _KNOWN_AS_UNCOUNTED:
            self._uncounted.add(func._schema.name if namespace != "aten" else name)
        return out


def _convolution(args: Any, out: torch.Tensor) -> int:
    x, weight, is_transposed = args[0], args[1], args[6]
    # The weights of one value: of the output (O, I, ...), or of the input of a transposed one (I, O, ...).
    return int((x if is_transposed else out).numel() * math.prod(weight.shape[1:]))


def _product(first: int) -> Callable[[Any, torch.Tensor], int]:
    """(..., m, k) (..., k, n), whose first factor is this argument: a sum of k products for each value."""
    return lambda args, out: int(out.numel() * args[first].shape[-1])


def _attention(args: Any) -> int:
    """Queries (N, heads, T, D), keys (N, heads, S, D) and values (N, heads, S, E)."""
    query, key, value = args[:3]
    return int(math.prod(query.shape[:-1]) * key.shape[-2] * (key.shape[-1] + value.shape[-1]))


def _recurrent(args: Any, out: Any) -> int:
    """One direction of one layer of an LSTM in oneDNN: x (steps, N, D), weights for the input and the state."""
    return int(math.prod(args[0].shape[:2]) * (args[1].numel() + args[2].numel()))


_MACS: dict[str, Callable[[Any, Any], int]] = {
    "convolution": _convolution,
    "_convolution": _convolution,
    "mm": _product(0),
    "bmm": _product(0),
    "mv": _product(0),
    "dot": lambda args, out: int(args[0].numel()),
    "addmm": _product(1),
    "addmv": _product(1),
    "baddbmm": _product(1),
    "mkldnn_rnn_layer": _recurrent,
}
_ATTENTION = ("_scaled_dot_product_flash", "_scaled_dot_product_efficient", "_scaled_dot_product_cudnn")
_KNOWN_AS_UNCOUNTED = frozenset(
    ("_cudnn_rnn", "_lstm_mps", "miopen_rnn", "addbmm", "_fft_r2c", "_fft_c2c", "_fft_c2r", "_cdist_forward",
     "_native_multi_head_attention", "_transformer_encoder_layer_fwd", "_trilinear")
)  # fmt: skip
