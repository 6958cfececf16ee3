"""Turn an ONNX graph into torch modules, which have gradients, and see whether they give the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..errors import ModelError
from ..execution.capture import tensors_of
from ..execution.silence import silence
from .adapted import Adapted
from .behavior import kept
from .channels_last import with_channels_last
from .checkpoints import summary
from .onnx_sessions import OnnxInput, OnnxNetwork, layer_name

_TOLERANCE = {"tensor(float)": 1e-4, "tensor(double)": 1e-4, "tensor(float16)": 2e-2}  # of the largest value
_SIDES = (224, 64, 32)  # tried where a file leaves the size open
_POOLS: dict[type[nn.Module], Callable[..., torch.Tensor]] = {
    nn.MaxPool1d: functional.max_pool1d,
    nn.MaxPool2d: functional.max_pool2d,
    nn.MaxPool3d: functional.max_pool3d,
}
# Rounding has a gradient of zero everywhere.
_ROUNDING = (
    "QuantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
)
# What makes a tensor of the shape that an input holds, and the first such input.
_SHAPING = {"ConstantOfShape": 0, "Range": 0, "Expand": 1, "Tile": 1, "Pad": 1, "Resize": 1, "OneHot": 1}


class NotConvertedError(Exception):
    """The graph cannot be turned into torch modules; the message says why."""


def as_modules(model: Any, given: OnnxInput, network: OnnxNetwork, size: tuple[int, int] | None) -> nn.Module:
    """The graph as torch modules, whose names are those of the tensors that they compute.

    They are compared with onnxruntime (``network``) on noise of this ``size``, where the file does not fix it.

    Raises:
        NotConvertedError: an operator is not known, or the outputs differ.
    """
    try:
        from onnx2pytorch import ConvertModel
    except ImportError:
        raise NotConvertedError("onnx2pytorch is not installed: pip install convscope[onnx]") from None
    if any(node.op_type in _ROUNDING for node in model.graph.node):
        raise NotConvertedError("it is quantized, and rounding has no gradient")
    if (shaping := _shaped_by_values(model.graph, given.name)) is not None:
        raise NotConvertedError(f"its {shaping} takes a shape from values of the image, which onnxruntime bounds")
    plain = type(model).FromString(model.SerializeToString())
    try:
        constants = _with_constants_apart(plain)
        with silence():
            converted = ConvertModel(plain).eval()
            _use_known_modules(converted, constants)
            _rename(converted)
            _drop_copies(converted)
    except Exception as error:  # whatever the library does not know
        raise NotConvertedError(summary(error)) from None
    module = Adapted(converted, call=_with_channels_last if given.channels_last else _quietly)
    _check_agreement(module, given, network, size)
    return module


def _shaped_by_values(graph: Any, image: str) -> str | None:
    """The operator, if any, whose output has a shape that depends on the values of the image, not on its shape."""
    dependent = {image}
    for node in graph.node:  # in the order of a run
        if dependent.intersection(node.input[_SHAPING.get(node.op_type, len(node.input)) :]):
            return str(node.op_type)
        if node.op_type not in ("Shape", "Size") and dependent.intersection(node.input):
            dependent.update(node.output)
    return None


def _quietly(network: Callable[[torch.Tensor], Any], x: torch.Tensor) -> Any:
    """Run a network without the warnings of its modules, which are about their own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return network(x)


def _with_channels_last(network: nn.Module, x: torch.Tensor) -> Any:
    return _quietly(partial(with_channels_last, network), x)


def _with_constants_apart(model: Any) -> dict[str, Any]:
    """Make constants, and other names of them, initializers, which may be a layer's weights; and return those."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    left = []
    for node in model.graph.node:
        value = next((a.t for a in node.attribute if node.op_type == "Constant" and a.name == "value"), None)
        if node.op_type == "Identity" and node.input[0] in constants:
            value = constants[node.input[0]]
        if value is None or node.output[0] in {output.name for output in model.graph.output}:
            for attribute in [a for a in node.attribute if a.name == "training_mode" and not a.i]:
                node.attribute.remove(attribute)
            left.append(node)
            continue
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
        constants[tensor.name] = tensor
    kept_nodes = [type(node).FromString(node.SerializeToString()) for node in left]
    del model.graph.node[:]
    model.graph.node.extend(kept_nodes)
    return constants


class Clip(nn.Module):
    """A ReLU with an upper bound, by the function for which methods have rules."""

    def __init__(self, high: float) -> None:
        super().__init__()
        self.high = high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.hardtanh(x, 0.0, self.high)


class MaxPool(nn.Module):
    """A maximum without the places where it was found."""

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self.function = _POOLS[type(pool)]
        keys = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        self.options = {key: getattr(pool, key) for key in keys}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, **self.options)


def _use_known_modules(converted: Any, constants: dict[str, Any]) -> None:
    """Put torch's own modules and functions, for which methods have rules, in place of those that do the same."""
    from onnx import numpy_helper

    for node in converted.onnx_model.graph.node:
        name = converted.mapping[node.output[0]]
        child, given = getattr(converted, name), [key for key in node.input[1:] if key]
        if any(key not in constants for key in given) or len(node.output) != 1:
            continue
        values = [torch.tensor(numpy_helper.to_array(constants[key])) for key in given]
        new: nn.Module | None = None
        if node.op_type == "Clip" and all(node.input):
            low, high, *_ = (*map(float, values), child.min, child.max)
            new = Clip(high) if low == 0 and high is not None else None
        elif type(child) in _POOLS:
            new = MaxPool(child)
        elif node.op_type == "Dropout":
            new = nn.Identity()
        elif node.op_type == "LayerNormalization" and child.axis == -1:
            new = nn.LayerNorm(values[0].shape, child.eps, bias=len(values) > 1)
            new.weight.data = values[0]
            if len(values) > 1:
                new.bias.data = values[1]
        if new is not None:
            setattr(converted, name, new.eval())
            del node.input[1:]


def _rename(converted: Any) -> None:
    for tensor, name in converted.mapping.items():
        new = layer_name(tensor)
        child = getattr(converted, name)
        delattr(converted, name)
        if isinstance(child, nn.Module):
            converted._modules[new] = child
        else:
            setattr(converted, new, child)
        converted.mapping[tensor] = new


def _drop_copies(converted: Any) -> None:
    """Drop the weights that layers hold themselves, of which the conversion keeps two more copies."""
    from onnx2pytorch.constants import STANDARD_LAYERS
    from onnx2pytorch.convert.operations import get_buffer_name

    graph = converted.onnx_model.graph
    needed = {
        name
        for node in graph.node
        if not isinstance(getattr(converted, converted.mapping[node.output[0]]), STANDARD_LAYERS)
        for name in node.input
    }
    for tensor in graph.initializer:
        if tensor.name not in needed:
            delattr(converted, get_buffer_name(tensor.name))
    del graph.initializer[:]


def _check_agreement(
    module: nn.Module, given: OnnxInput, network: OnnxNetwork, size: tuple[int, int] | None
) -> None:
    """`NotConvertedError` unless both give the same on noise of different strengths."""
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    for x in _noise(given, network, size):
        with torch.no_grad():
            try:
                found = [t.float() for t in tensors_of(kept(module(x.to(dtype))))]
            except Exception as error:
                raise NotConvertedError(f"its modules cannot be run ({summary(error)})") from None
            expected = [t.float() for t in tensors_of(kept(network(x)))]
        _check_gradient(module, x.to(dtype))
        if [t.shape for t in found] != [t.shape for t in expected] or not expected:
            raise NotConvertedError("its modules give outputs of other shapes")
        for a, b in zip(found, expected, strict=True):
            scale, off = float(b.abs().max()), float((a - b).abs().max())
            if not off <= _TOLERANCE[given.kind] * scale:
                raise NotConvertedError(
                    f"its modules give outputs that differ by {off:.1e}, where the largest is {scale:.1e}"
                )


def _check_gradient(module: nn.Module, x: torch.Tensor) -> None:
    """`NotConvertedError` if no gradient leads from the outputs to the images."""
    leaf = x.clone().requires_grad_()
    with torch.enable_grad():
        total = sum(t.float().square().sum() for t in tensors_of(module(leaf)))
    if not isinstance(total, torch.Tensor) or total.grad_fn is None:
        raise NotConvertedError("no gradient leads from its outputs to its input")
    (gradient,) = torch.autograd.grad(total, leaf, allow_unused=True)
    if gradient is None or (bool(total) and not gradient.any()):
        raise NotConvertedError("its gradients are zero everywhere")


def _noise(given: OnnxInput, network: OnnxNetwork, size: tuple[int, int] | None) -> list[torch.Tensor]:
    """Batches of images of different brightness and contrast, of a size that the graph runs on."""
    _, n_channels, *fixed = given.shape
    sides: Sequence[tuple[int, int]] = [(side, side) for side in _SIDES]
    if all(fixed):
        sides = [(fixed[0], fixed[1])]
    elif size is not None:
        sides = [size]
    generator = torch.Generator().manual_seed(0)
    for side in sides:
        x = torch.randn(given.batch or 2, n_channels or 3, *side, generator=generator, device="cpu")
        try:
            with torch.no_grad():
                network(x)
        except ModelError as error:
            failure = error
            continue
        return [x - 1, 3 * x + 1.5, x.sigmoid()]
    if size is not None or all(fixed):
        raise failure
    raise NotConvertedError("it could not be compared, as its input size is not known: give input_size=(H, W)")
