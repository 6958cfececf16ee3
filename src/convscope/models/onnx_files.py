"""Networks in ONNX files: as torch modules where these give the same, otherwise as onnxruntime runs them."""

from __future__ import annotations

from pathlib import Path

from .model import Model
from .onnx_modules import NotConvertedError, as_modules
from .onnx_reading import read_graph
from .onnx_sessions import OnnxNetwork
from .onnx_statements import input_of, statements_of
from .stated import Stated


def read_onnx(path: Path, input_size: tuple[int, int] | None = None) -> tuple[Model, Stated]:
    """The network of an ONNX file, and what the file says of its images. No code runs from it.

    ``input_size`` is where torch modules are compared with onnxruntime, if the file does not fix it.
    """
    graph = read_graph(path)
    given = input_of(graph, path)
    stated, labels = statements_of(graph, given)
    content = graph.SerializeToString()
    plain = OnnxNetwork(content, given, "", layers=False)
    try:
        module = as_modules(graph, given, plain, input_size or stated.input_size)
        note = f"{path.name} runs as torch modules, which give what onnxruntime gives for noise"
    except NotConvertedError as error:
        why = f"it is run by onnxruntime, as it cannot be turned into torch modules: {error}"
        module = OnnxNetwork(content, given, why)
        note = f"{path.name} is run by onnxruntime, without gradients: {error}"
    model = Model(module, labels=labels, name=path.name)
    model.notes = (note, *stated.notes)
    return model, stated
