"""Read an ONNX file with nothing but its own folder, and within limits: no code, no other file, no huge tensor."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..errors import ModelError
from .checkpoints import summary

# A Protocol Buffer holds at most 2 GiB, and all weights have to fit in it before they are given to onnxruntime.
_LARGEST = 2**31 - 2**20
_MOST_NODES = 200_000
_MOST_VALUES = 2**29  # of one tensor, 2 GiB in float32
_DEEPEST = 100  # functions that call functions
_MOST_REPEATS = 10_000  # of what is in a loop, with the loops around it
_OPSETS = range(7, 64)  # onnxruntime knows no older ones; it refuses those that are too new for it
# Operators that onnxruntime has itself. Others would come from a library of the file's author.
_DOMAINS = frozenset(("", "ai.onnx", "ai.onnx.ml", "com.microsoft"))
_LOADING_FILES = frozenset(("EPContext", "PyOp", "PyCustomOp"))  # of "com.microsoft": they take in other files


def require_onnx() -> Any:
    """The package ``onnx``; `ModelError` where it or onnxruntime is not installed."""
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ModelError(f"ONNX files need onnx and onnxruntime ({error}): pip install convscope[onnx]") from None
    return onnx


def read_graph(path: Path) -> Any:
    """An ONNX model (`onnx.ModelProto`) with all of its weights inside, checked.

    Weights in other files are read only from the file's own folder.

    Raises:
        ModelError: the file is damaged, too large, asks for another file or for operators of its own.
    """
    onnx = require_onnx()
    size = path.stat().st_size
    if size > _LARGEST:
        raise ModelError(f"{path}: has {size:,} bytes; ONNX files of at most {_LARGEST:,} can be read")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # of google.protobuf, which has several implementations
        raise ModelError(f"{path}: is no ONNX file, or cut short or damaged ({summary(error)})") from None
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{path}: is no ONNX file, or cut short: it has no graph")
    _check_operators(model, path)
    _take_in_weights(model, path, size)
    try:
        onnx.checker.check_model(model)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        raise ModelError(f"{path}: is no valid ONNX graph ({summary(error)})") from None
    _check_loops(model, path)
    _check_sizes(inferred, path)
    return model


def _check_operators(model: Any, path: Path) -> None:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx", _OPSETS.start))
    if opset not in _OPSETS:
        raise ModelError(
            f"{path}: is of opset {opset}; onnxruntime runs opsets from {_OPSETS.start}: export it again with a "
            "later one, or convert it (onnx.version_converter)"
        )
    own = {(function.domain, function.name) for function in model.functions}
    n_nodes = _n_nodes(model, path)
    for node in _nodes(model):
        is_known = node.domain in _DOMAINS and node.op_type not in _LOADING_FILES
        if not is_known and (node.domain, node.op_type) not in own:
            raise ModelError(
                f"{path}: needs the operator {node.domain}.{node.op_type}, which is not part of onnxruntime; "
                "libraries of custom operators are not loaded, as they are code"
            )
    if n_nodes > _MOST_NODES:
        raise ModelError(f"{path}: has {n_nodes:,} operations; at most {_MOST_NODES:,} are read")


def _n_nodes(model: Any, path: Path) -> int:
    """How many operations a run has, with those of functions as often as they are called."""
    functions = {(function.domain, function.name): function.node for function in model.functions}
    known: dict[tuple[str, str], int] = {}

    def count(nodes: Any, inside: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in inside or len(inside) > _DEEPEST:
                raise ModelError(f"{path}: its function {node.op_type!r} calls itself, or others, without end")
            if key in functions and key not in known:
                known[key] = count(functions[key], (*inside, key))
            total += 1 + known.get(key, 0)
            total += sum(count(graph.node, inside) for graph in _graphs_in(node))
        return total

    return count(model.graph.node, ())


def _check_loops(model: Any, path: Path) -> None:
    """`ModelError` for a loop that the file does not bound: a run of onnxruntime cannot be interrupted."""
    bounds = _constants(model)
    waiting = [(nodes, 1) for nodes in (model.graph.node, *(function.node for function in model.functions))]
    while waiting:
        nodes, n_around = waiting.pop()
        for node in nodes:
            n_times = n_around
            if node.op_type == "Loop":
                n_times *= bounds.get(node.input[0] if node.input else "", _MOST_REPEATS + 1)
                if n_times > _MOST_REPEATS:
                    raise ModelError(
                        f"{path}: its loop {node.name or node.output[0]!r} may run without end: the number of "
                        f"its rounds has to be a constant, of at most {_MOST_REPEATS:,}. Export the network "
                        "without it (torch.onnx.export of a traced network unrolls loops)"
                    )
            waiting += [(graph.node, n_times) for graph in _graphs_in(node)]


def _constants(model: Any) -> dict[str, int]:
    """The whole numbers that are constants, under their names, wherever they are; the larger of two."""
    from onnx import numpy_helper

    tensors = [(tensor.name, tensor) for tensor in _tensors(model) if tensor.name]
    computed = {value.name for graph in _subgraphs(model) for value in graph.input}
    computed |= {name for function in model.functions for name in function.input}
    found: dict[str, int] = {}
    for node in _nodes(model):
        if node.op_type != "Constant":
            computed.update(node.output)
            continue
        for attribute in node.attribute:
            if attribute.name == "value":
                tensors.append((node.output[0], attribute.t))
            elif attribute.name == "value_int":
                found[node.output[0]] = max(attribute.i, found.get(node.output[0], 0))
    for name, tensor in tensors:
        if math.prod(tensor.dims) == 1 and tensor.data_type in (6, 7) and not tensor.external_data:  # INT32, INT64
            found[name] = max(int(numpy_helper.to_array(tensor).flat[0]), found.get(name, 0))
    return {name: number for name, number in found.items() if name not in computed}


def _nodes(model: Any) -> Iterator[Any]:
    """All nodes, also those inside of others and of functions."""
    waiting = [model.graph.node, *(function.node for function in model.functions)]
    while waiting:
        for node in waiting.pop():
            yield node
            waiting.extend(graph.node for graph in _graphs_in(node))


def _tensors(model: Any) -> Iterator[Any]:
    """All tensors that the file holds, wherever they are."""
    for node in _nodes(model):
        for attribute in node.attribute:
            sparse = (attribute.sparse_tensor, *attribute.sparse_tensors)
            yield from (attribute.t, *attribute.tensors)
            yield from (part for one in sparse for part in (one.values, one.indices))
    for graph in (model.graph, *_subgraphs(model)):
        yield from graph.initializer
        yield from (part for one in graph.sparse_initializer for part in (one.values, one.indices))


def _take_in_weights(model: Any, path: Path, size: int) -> None:
    """Put the values that are in other files of the folder into the model."""
    from onnx import TensorProto

    folder = path.parent.resolve()
    for tensor in _tensors(model):
        if not tensor.external_data and tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        beside = _beside(folder, entries.get("location", ""), path)
        start, length = _stretch(entries, beside, path)
        size += length
        if size > _LARGEST:
            raise ModelError(f"{path}: has more than {_LARGEST:,} bytes of weights; no more can be read")
        expected = _n_bytes(tensor)
        if expected is not None and expected != length:
            raise ModelError(
                f"{path}: its tensor {tensor.name!r} has {expected:,} bytes, but {beside.name} holds {length:,} "
                "for it: the two files do not belong together"
            )
        with beside.open("rb") as file:
            file.seek(start)
            tensor.raw_data = file.read(length)
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT


def _beside(folder: Path, location: str, path: Path) -> Path:
    """The file of this relative name in the folder; `ModelError` for one that lies, or leads, elsewhere."""
    parts = PurePosixPath(location).parts
    is_absolute = PurePosixPath(location).is_absolute() or bool(PureWindowsPath(location).anchor)
    if not parts or is_absolute or ".." in parts or "\\" in location or "\0" in location:
        raise ModelError(f"{path}: wants weights from {location!r}, outside of its folder; that was not read")
    found = Path(os.path.realpath(folder / location))
    if not found.is_relative_to(folder):
        raise ModelError(f"{path}: wants weights from {location!r}, a link out of its folder; that was not read")
    if not found.is_file():
        raise ModelError(f"{path}: its weights are in {location}, which is not there: copy both files")
    return found


def _stretch(entries: dict[str, str], beside: Path, path: Path) -> tuple[int, int]:
    """Where a tensor's values begin in a file, and how many bytes they take."""
    size = beside.stat().st_size
    try:
        start = int(entries.get("offset", "0"))
        length = int(entries.get("length", str(size - start)))
    except ValueError:
        raise ModelError(f"{path}: is damaged: {entries} is no place in {beside.name}") from None
    if start < 0 or length < 0 or start + length > size:
        raise ModelError(
            f"{path}: wants {length:,} bytes from {start:,} on of {beside.name}, which has {size:,}; it is cut "
            "short or damaged"
        )
    return start, length


def _n_bytes(tensor: Any) -> int | None:
    """How many bytes the values of a tensor take; None for types smaller than a byte."""
    from onnx import helper

    try:
        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError):
        return None
    is_small = "4" in kind.name or ("2" in kind.name and kind.name.endswith("int2"))
    return None if is_small and kind.itemsize == 1 else math.prod(tensor.dims) * int(kind.itemsize)


def _check_sizes(model: Any, path: Path) -> None:
    """`ModelError` for a tensor that would fill the memory, among those whose size is known before a run."""
    shapes = [(tensor.name, tensor.dims) for tensor in _tensors(model)]
    for graph in [model.graph, *_subgraphs(model)]:
        shapes += [("sparse", sparse.dims) for sparse in graph.sparse_initializer]
        for value in (*graph.value_info, *graph.input, *graph.output):
            dims = value.type.tensor_type.shape.dim
            shapes.append((value.name, [dim.dim_value or 1 for dim in dims]))
    for node in _nodes(model):
        for attribute in node.attribute:
            shapes += [(node.name, one.dims) for one in (attribute.sparse_tensor, *attribute.sparse_tensors)]
    for name, dims in shapes:
        if math.prod(dims) > _MOST_VALUES:
            raise ModelError(
                f"{path}: its tensor {name!r} has {math.prod(dims):,} values for one image ({tuple(dims)}); at "
                f"most {_MOST_VALUES:,} are taken"
            )


def _subgraphs(model: Any) -> Iterator[Any]:
    for node in _nodes(model):
        yield from _graphs_in(node)


def _graphs_in(node: Any) -> Iterator[Any]:
    """The graphs inside of a node, such as the body of a loop."""
    for attribute in node.attribute:
        yield from (attribute.g, *attribute.graphs)
