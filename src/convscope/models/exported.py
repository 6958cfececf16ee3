"""Programs of torch.export (.pt2), as modules whose layers and functions can be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.export.unflatten import InterpreterModule
from torch.nn import functional

from ..errors import ModelError
from ..execution.silence import silence
from .checkpoints import summary
from .exported_checks import refuse_harmful_program
from .model import Model
from .program_archives import ProgramArchive
from .program_texts import is_dotted
from .stated import Stated

# Functions of Python that do what an operation of ATen does, with its arguments in the same order. Rules of
# methods look for these; any other operation is replaced by torch's function of its name.
_FUNCTIONS: dict[str, Any] = {
    name: getattr(functional, name)
    for name in (
        "adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "conv1d", "conv2d", "conv3d",
        "conv_transpose1d", "dropout", "gelu", "hardsigmoid", "layer_norm", "linear", "max_pool2d", "mish", "pad",
        "scaled_dot_product_attention", "softplus",
    )
}  # fmt: skip
_ACTIVATIONS = ("relu", "relu6", "hardtanh", "hardswish", "leaky_relu", "elu", "selu", "silu")  # also in place
_MOST_ARGUMENTS = {"layer_norm": 5}  # operations have further ones, for one backend


def read_exported(path: Path, *, trust_pickle: bool) -> tuple[Model, Stated]:
    """The network of a program that torch.export.save wrote, and the shape that it takes.

    PyTorch unpickles, evaluates and compiles parts of such a file. Unless it is trusted, all of them are looked at
    first, and one that could do more than compute is refused.
    """
    try:
        with path.open("rb") as file, silence():
            if not trust_pickle:
                refuse_harmful_program(ProgramArchive(file, path))
            file.seek(0)
            program = torch.export.load(file)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{path}: not a readable program of torch.export ({summary(error)}); one of another version of "
            "PyTorch has to be exported again"
        ) from error
    given = _image_input(program, path)
    sides = [side if isinstance(side, int) else None for side in given.shape]
    if sides[0] is not None and sides[0] > 1:
        raise ModelError(
            f"{path}: was exported for batches of {sides[0]} images alone: export it for any number, "
            "torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))"
        )
    module, note = _visible(program)
    if sides[0] == 1:
        module.why_one_image = "it was exported for a batch of one"  # type: ignore[assignment]
    model = Model(module, name=path.name)
    model.notes = (note,) if note else ()
    size = None if sides[2] is None or sides[3] is None else (sides[2], sides[3])
    return model, Stated(input_size=size, n_channels=sides[1], fixed_size=size is not None)


def _image_input(program: ExportedProgram, path: Path) -> Any:
    """The one input of a program, as a tensor without values."""
    specs = program.graph_signature.input_specs
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    given = [
        node.meta.get("val") for node, spec in zip(nodes, specs, strict=True) if spec.kind == InputKind.USER_INPUT
    ]
    shapes = ", ".join(str(tuple(getattr(value, "shape", ()))) for value in given) or "none"
    is_image = len(given) == 1 and isinstance(given[0], torch.Tensor) and given[0].ndim == 4
    if not is_image or not given[0].is_floating_point():
        raise ModelError(f"{path}: takes {len(given)} inputs ({shapes}); expected one, of images (N, C, H, W)")
    return given[0]


def _visible(program: ExportedProgram) -> tuple[nn.Module, str]:
    """The program as nested modules under their old names, if that gives the same; and a note if it does not."""
    whole = program.module()
    for name in ("train", "eval"):  # which would raise; what was exported has one mode
        vars(whole).pop(name, None)
    example = program.example_inputs[0][0] if program.example_inputs else None
    try:
        _check_paths(program.graph)
        with silence():
            nested = torch.export.unflatten(program)
        for child in list(nested.modules()):
            if isinstance(child, torch.export.UnflattenedModule | InterpreterModule):
                _call_python(child.graph)
                child.finalize()  # type: ignore[no-untyped-call]
        if isinstance(example, torch.Tensor):
            x = torch.randn(example.shape, generator=torch.Generator().manual_seed(0)).to(example)
            with torch.no_grad():
                torch.testing.assert_close(nested(x), whole(x))
            return nested, ""
    except Exception:
        return whole, "the layers of this program are not visible, as it cannot be taken apart into modules"
    return whole, "the layers of this program are not visible, as the file holds no example to try them on"


def _check_paths(graph: fx.Graph) -> None:
    """`ModelError` if the path of a module, which becomes source code, is none."""
    stacks = [node.meta.get("nn_module_stack", {}) for node in graph.nodes]
    for path in {path for stack in stacks for path, _ in stack.values()}:
        if not is_dotted(path):
            raise ModelError(f"{path[:80]!r} is no path of a module")


def _call_python(graph: fx.Graph) -> None:
    """Have a graph call the functions of Python in place of operations of ATen, as a module's own code would."""
    for node in graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        namespace, _, name = node.target._schema.name.partition("::")
        if namespace != "aten":
            continue
        if name == "batch_norm":
            x, weight, bias, mean, var, training, momentum, eps, *_ = node.args
            node.target, node.args = functional.batch_norm, (x, mean, var, weight, bias, training, momentum, eps)
        elif name.removesuffix("_") in _ACTIVATIONS:
            node.target = getattr(functional, name.removesuffix("_"))
            node.kwargs = {**node.kwargs, "inplace": True} if name.endswith("_") else node.kwargs
        elif name in _FUNCTIONS:
            node.target, node.args = _FUNCTIONS[name], node.args[: _MOST_ARGUMENTS.get(name)]
        elif (function := getattr(torch, name, None) or getattr(torch.Tensor, name, None)) is not None:
            node.target = function
