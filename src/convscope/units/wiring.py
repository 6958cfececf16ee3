"""Which convolution computes the channels of a layer, and which layer's channels it reads, by watching one run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..checks import InputShape
from ..errors import LayerError
from ..execution import evaluating, hooks, scale_and_shift
from ..execution.capture import watch
from ..execution.conv_chains import batch_norm_of
from ..models import Model

_INPUT = "the network's input"
_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "linear")
_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
# A channel of what these return depends on the same channel of what they are given, and on no other.
_BY_CHANNEL = frozenset(
    (
        "relu", "relu6", "hardtanh", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "mish",
        "sigmoid", "tanh", "hardswish", "hardsigmoid", "softplus", "softsign", "logsigmoid", "threshold", "clamp",
        "batch_norm", "instance_norm", "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout",
        "feature_alpha_dropout", "interpolate", "clone", "contiguous", "to", "detach", "float", "alias",
        *(f"{kind}_pool{n}d" for kind in ("max", "avg", "lp", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)),
    )
)  # fmt: skip
_WITH_NUMBERS = ("add", "sub", "mul", "div", "truediv")  # by channel where the other operand is a number
_RESHAPES = ("flatten", "view", "reshape", "squeeze")  # by channel where the map has a single place


@dataclass(eq=False)
class Step:
    """A call that made a tensor, and the steps that made what it was given."""

    name: str
    before: list[Step] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)  # arguments of a convolution
    norm: tuple[Any, ...] | None = None  # of a batch norm: mean, var, weight, bias, eps
    by_channel: bool = False

    @property
    def is_convolution(self) -> bool:
        return bool(self.given)

    def path(self) -> Iterator[Step]:
        """This step and those before it, as far as channels stay what they are; the last is of another kind."""
        step = self
        yield step
        while step.by_channel:
            (step,) = step.before
            yield step


@dataclass(frozen=True)
class Wiring:
    """How channels of a layer are computed: ``weights`` (O, I) over the kernel, ``biases`` (O,), norm included.

    ``convolution`` is the name of its module, or of its function outside of one. ``source`` is the layer it
    reads, ``read`` a name at which its tensor can be captured, ``sources`` all layers with these channels,
    ``same`` those with the very tensor that is read. ``is_exact``: whether it looks at each place once.
    """

    convolution: str
    source: str
    read: str
    sources: tuple[str, ...]
    same: tuple[str, ...]
    weights: torch.Tensor
    biases: torch.Tensor
    is_exact: bool


def wiring_of(model: Model, shape: InputShape, layer: str) -> Wiring:
    """The convolution behind a layer and what it reads; `LayerError` says why there is none."""
    path, outputs, inputs = _path_to(model, shape, layer)
    convolution = path[-1]
    padded, read = _reads(convolution)
    there = list(read.path())
    if there[-1].name == _INPUT:
        raise LayerError(f"layer {layer!r}: its convolution reads the network's input, not another layer")
    of_step: dict[Step, list[str]] = {}
    for each, step in outputs.items():
        of_step.setdefault(step, []).insert(0, each)  # a container's name before those of its children
    same = tuple(of_step.get(read, ()))
    sources = tuple(each for step in there for each in of_step.get(step, ()))
    if not sources:
        raise LayerError(
            f"layer {layer!r}: its convolution reads what {there[-1].name!r} makes outside of any module, "
            "not the output of a layer"
        )
    entries = [each for wanted in (read, padded) for each, step in inputs.items() if step is wanted]
    by_name = next((each for each, step in outputs.items() if step is convolution), convolution.name)
    weights, biases = _folded(path)
    return Wiring(
        by_name, sources[0], (*same, *entries)[0], sources, same, weights, biases,
        read is padded and _looks_once(convolution.given),
    )  # fmt: skip


def weights_of_input(model: Model, shape: InputShape, layer: str) -> torch.Tensor | None:
    """The weights (O, I, kH, kW) of a layer's channels in the network's input, norm included, in float64.

    None where another layer is in between, or no convolution makes the layer.
    """
    try:
        path, _, _ = _path_to(model, shape, layer)
    except LayerError:
        return None
    _, read = _reads(path[-1])
    weight: torch.Tensor = path[-1].given["weight"].detach().cpu().double()
    if weight.ndim != 4 or list(read.path())[-1].name != _INPUT:
        return None
    scale, _ = _norms(path)
    return weight * scale.reshape(-1, 1, 1, 1)


def _path_to(model: Model, shape: InputShape, layer: str) -> tuple[list[Step], dict[str, Step], dict[str, Step]]:
    """The steps from a layer back to its convolution, and what made the outputs and inputs of all layers."""
    structure = model.checked(shape)
    name = structure.find(layer).name
    names = [each.name for each in structure.layers]
    with evaluating(model.module):
        outputs, inputs = _watched(model, structure.example.clone(), names)
    if name not in outputs:
        raise LayerError(f"layer {layer!r} cannot be followed: what it returns is not computed from Python")
    path = list(outputs[name].path())
    if not path[-1].is_convolution:
        raise LayerError(_why_not(layer, path[-1], outputs))
    return path, outputs, inputs


def _reads(convolution: Step) -> tuple[Step, Step]:
    """What made the tensor that a convolution is given, and the same without its padding."""
    padded = read = convolution.before[0]
    while read.name == "pad":  # the border is not the source's
        read = read.before[0]
    return padded, read


def _looks_once(given: dict[str, Any]) -> bool:
    """Whether a convolution looks at each place of its input once: 1 x 1, without a stride or a border."""
    kernel, stride = given["weight"].shape[2:], torch.as_tensor(given.get("stride", 1))
    padding = given.get("padding", 0)
    return (
        math.prod(kernel) == 1
        and bool((stride == 1).all())
        and (isinstance(padding, str) or not torch.as_tensor(padding).any())
    )


def _why_not(layer: str, step: Step, outputs: dict[str, Step]) -> str:
    if step.name == _INPUT:
        return f"layer {layer!r} is made from the network's input without a convolution"
    parts = {id(one) for before in step.before for one in before.path()}
    near = [repr(name) for name, other in outputs.items() if id(other) in parts]
    hint = f"; name one of its parts, such as {' or '.join(near[-2:])}" if near else ""
    return f"the channels of layer {layer!r} are not those of one convolution: {step.name!r} makes them{hint}"


def _watched(model: Model, x: torch.Tensor, names: list[str]) -> tuple[dict[str, Step], dict[str, Step]]:
    """The steps that made the outputs of the named layers, and the inputs of their modules."""
    outputs: dict[str, Step] = {}
    inputs: dict[str, Step] = {}
    mode = _Watching(x)

    def keep(name: str, tensor: torch.Tensor) -> None:
        found = inputs if name.endswith(":input") else outputs
        if (step := mode.step_of(tensor)) is not None:
            found[name] = step

    with hooks() as attached:
        for name in names:
            attached.append(watch(model.module, name, keep))
            if "[" not in name:
                attached.append(watch(model.module, f"{name}:input", keep))
        with mode:
            model.module(x)
    return outputs, inputs


class _Watching(TorchFunctionMode):
    """Follows tensors from call to call."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        self._kept = [x]  # so that no later tensor gets the same id
        self._latest: dict[int, Step] = {id(x): Step(_INPUT)}

    def step_of(self, tensor: torch.Tensor) -> Step | None:
        """What made a tensor as it is now; None if that was not seen."""
        return self._latest.get(id(tensor))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        before = [step for value in _flat((*args, *kwargs.values())) if (step := self.step_of(value)) is not None]
        shapes = [tuple(value.shape) for value in _flat(args)]
        out = func(*args, **kwargs)
        if func.__name__ == "__setitem__":
            self._latest[id(args[0])] = Step("assignment", before)
        for one in _flat([out]):
            if before:
                self._kept.append(one)
                self._latest[id(one)] = _step(func, args, kwargs, before, shapes, one)
        return out


def _step(
    func: Any, args: Any, kwargs: Any, before: list[Step], shapes: list[tuple[int, ...]], out: torch.Tensor
) -> Step:
    name = func.__name__.strip("_")
    name = name[1:] if name in ("iadd", "isub", "imul", "radd", "rmul", "itruediv") else name
    if name in _CONVOLUTIONS:
        given = dict(zip(_ARGUMENTS, args, strict=False)) | kwargs
        if isinstance(given.get("input"), torch.Tensor) and (name != "linear" or given["input"].ndim == 2):
            return Step(name, before[:1], given)
    norm = batch_norm_of(func, args, kwargs)
    alone = len(before) == 1 and out.shape[:2] == shapes[0][:2]
    alike = name in _BY_CHANNEL or (
        (name in _WITH_NUMBERS and len(shapes) == 1)
        or (name == "pad" and len(args[1] if len(args) > 1 else kwargs["pad"]) <= 2 * (out.ndim - 2))
        or (name in _RESHAPES and math.prod(shapes[0][2:]) == 1)
        or (name == "mean" and _is_over_places(args, kwargs, len(shapes[0])))
    )
    return Step(name, before, norm=norm[1:] if norm else None, by_channel=alone and alike)


def _is_over_places(args: Any, kwargs: Any, n_dims: int) -> bool:
    dims = args[1] if len(args) > 1 else kwargs.get("dim")
    over = (dims,) if isinstance(dims, int) else tuple(dims or ())
    return bool(over) and all(dim % n_dims > 1 for dim in over)


def _flat(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        elif isinstance(value, torch.Tensor):
            yield value


def _folded(path: list[Step]) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (O, I), added over the kernel, and biases (O,) of the last step and the norms right behind it."""
    given = path[-1].given
    weight, bias, groups = given["weight"].detach().cpu().double(), given.get("bias"), given.get("groups", 1)
    per_group = weight.reshape(*weight.shape[:2], -1).sum(dim=2)  # (O, I / groups)
    n_out, n_in = per_group.shape
    weights = torch.zeros(n_out, n_in * groups, dtype=torch.float64)
    for group in range(groups):
        rows = slice(group * n_out // groups, (group + 1) * n_out // groups)
        weights[rows, group * n_in : (group + 1) * n_in] = per_group[rows]
    biases = torch.zeros(n_out, dtype=torch.float64) if bias is None else bias.detach().cpu().double()
    scale, shift = _norms(path)
    return weights * scale[:, None], biases * scale + shift


def _norms(path: list[Step]) -> tuple[torch.Tensor, torch.Tensor]:
    """The scale and the shift (O,) of the norms right behind the last step of a path."""
    n_out = len(path[-1].given["weight"])
    scale, shift = torch.ones(n_out, dtype=torch.float64), torch.zeros(n_out, dtype=torch.float64)
    for step in reversed(path[:-1]):
        if step.norm is None:
            break
        norm: list[Any] = [v.detach().cpu().double() if isinstance(v, torch.Tensor) else v for v in step.norm]
        own_scale, own_shift = scale_and_shift(*norm)
        scale, shift = scale * own_scale, shift * own_scale + own_shift
    return scale, shift
