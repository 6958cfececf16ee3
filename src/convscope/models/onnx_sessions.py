"""A network that onnxruntime runs: its named tensors are its layers, and it has no gradients."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import ModelError
from .checkpoints import summary

_FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
_RANKS = (2, 3, 4)  # of layers: vectors, tokens, maps


@dataclass(frozen=True)
class OnnxInput:
    """The image input of a graph: its type and (N, C, H, W), each 0 where the file leaves it open."""

    name: str
    kind: str
    shape: tuple[int, int, int, int]
    channels_last: bool

    @property
    def batch(self) -> int:
        """How many images a run takes; 0 for any number."""
        return self.shape[0]


def layer_name(tensor: str) -> str:
    """The name of a tensor as a layer's; ".", ":" and brackets mean something else there."""
    name = re.sub(r"[.:\[\]]", "_", tensor)
    return f"{name}_" if hasattr(nn.Module, name) or name in nn.Module().__dict__ else name


class OnnxTensor(nn.Module):
    """A named tensor of an ONNX graph: returns what it is given, for hooks to see."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class _Sessions:
    """The sessions of a network, by process: their threads do not exist in a fork.

    With slots, it is not taken for state of the network, which every call puts back.
    """

    __slots__ = ("by_process",)

    def __init__(self) -> None:
        self.by_process: dict[tuple[int, bool], Any] = {}


class OnnxNetwork(nn.Module):
    """An ONNX graph as a module of (N, C, H, W), run by onnxruntime; its children are its tensors, by name.

    Scores are computed by one session, as fast as onnxruntime can. Layers are outputs of another, since what is
    put out cannot be fused; without ``layers`` there is none.
    """

    def __init__(self, graph: bytes, given: OnnxInput, why_no_gradients: str, *, layers: bool = True) -> None:
        super().__init__()
        self.given = given
        self.why_no_gradients = why_no_gradients
        self._graph = graph
        self._sessions = _Sessions()
        # What stands for the weights in digests, as these are out of sight.
        digest = hashlib.sha256(graph).digest()
        self.register_buffer("sha256", torch.frombuffer(bytearray(digest), dtype=torch.uint8))
        self._outputs = [output.name for output in self._session().get_outputs()]
        self._tensors: dict[str, str] = {}  # the names of tensors, by those of layers
        for tensor in self._session(inner=True).get_outputs() if layers else ():
            rank = len(tensor.shape) if isinstance(tensor.shape, list) else 0
            if tensor.type in _FLOATS and rank in _RANKS and tensor.name not in self._outputs:
                self._modules[layer_name(tensor.name)] = OnnxTensor()
                self._tensors[layer_name(tensor.name)] = tensor.name

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy makes sessions of its own."""
        return type(self), (self._graph, self.given, self.why_no_gradients)

    @property
    def image_channels(self) -> int | None:
        """The channels of an image, if the file fixes them."""
        return self.given.shape[1] or None

    def forward(self, x: torch.Tensor) -> Any:
        wanted = [name for name, child in self._modules.items() if child is not None and _is_watched(child)]
        found = self._run(x, [self._tensors[name] for name in wanted])
        for name in wanted:
            tensor = found[self._tensors[name]]
            if not _is_same(self._modules[name](tensor), tensor):  # type: ignore[misc]
                raise ModelError(f"{name}: a tensor inside of an ONNX file cannot be changed during a run")
        if len(self._outputs) == 1:
            return found[self._outputs[0]]
        return {name: found[name] for name in self._outputs}

    def _run(self, x: torch.Tensor, tensors: list[str]) -> dict[str, torch.Tensor]:
        """The outputs and these tensors for a batch of any size; one run after another if the file fixes it."""
        session, names = self._session(inner=bool(tensors)), [*self._outputs, *tensors]
        values = x.detach().movedim(1, -1) if self.given.channels_last else x.detach()
        array = values.cpu().numpy().astype(_FLOATS[self.given.kind])
        n = self.given.batch or len(array)
        parts = [self._run_once(session, names, array[i : i + n], n) for i in range(0, len(array), n)]
        return {
            name: _joined(name, column, len(x)).to(x.device) for name, *column in zip(names, *parts, strict=True)
        }

    def _run_once(self, session: Any, names: list[str], array: np.ndarray[Any, Any], n: int) -> list[torch.Tensor]:
        missing = n - len(array)
        full = np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
        try:
            found = session.run(names, {self.given.name: np.ascontiguousarray(full)})
        except Exception as error:
            is_memory = "BFCArena" in str(error) or "Failed to allocate" in str(error)
            why = "it needs more than half of this machine's memory" if is_memory else summary(error)
            raise ModelError(f"onnxruntime cannot run this graph on {tuple(full.shape)}: {why}") from None
        tensors = [_as_tensor(value) for value in found]
        return [tensor[: len(array)] if missing and len(tensor) == n else tensor for tensor in tensors]

    def _session(self, *, inner: bool = False) -> Any:
        """The session of this process: for scores, or with every inner tensor as an output."""
        key, made = (os.getpid(), inner), self._sessions.by_process
        if key not in made:
            made[key] = session_of(_with_inner_outputs(self._graph) if inner else self._graph)
        return made[key]


def session_of(graph: bytes) -> Any:
    """An onnxruntime session on the CPU; `ModelError` if it cannot run the graph."""
    import onnxruntime

    _limit_memory(onnxruntime)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"onnxruntime cannot run this graph: {summary(error)}") from None


def _limit_memory(onnxruntime: Any) -> None:
    """Have sessions share one store of memory, of half the machine's: a graph may compute a shape of any size."""
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg({"max_mem": _most_bytes()}))


def _most_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):  # not every system says
        return 2**34


def _with_inner_outputs(graph: bytes) -> bytes:
    """The graph with every tensor that a node computes as an output; onnxruntime finds their types."""
    import onnx

    model = onnx.ModelProto.FromString(graph)
    known = {output.name for output in model.graph.output}
    computed = (name for node in model.graph.node for name in node.output if name)
    new = [name for name in dict.fromkeys(computed) if name not in known]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in new)
    whole: bytes = model.SerializeToString()
    return whole


def _is_watched(child: nn.Module) -> bool:
    return bool(child._forward_hooks or child._forward_pre_hooks)


def _is_same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a is b or (a.shape == b.shape and torch.equal(a.detach().nan_to_num(), b.nan_to_num()))


def _as_tensor(value: Any) -> torch.Tensor:
    if not isinstance(value, np.ndarray):
        raise ModelError(f"onnxruntime puts out a {type(value).__name__}, not a tensor")
    tensor = torch.from_numpy(np.array(value))
    return tensor.float() if tensor.is_floating_point() else tensor


def _joined(name: str, parts: Iterable[torch.Tensor], n: int) -> torch.Tensor:
    """The results of several runs as one batch of n."""
    every = list(parts)
    if len(every) == 1:
        return every[0]
    if any(not part.ndim for part in every) or sum(map(len, every)) != n:
        raise ModelError(f"{name}: this tensor does not have one row an image; look at one image at a time")
    return torch.cat(every)
