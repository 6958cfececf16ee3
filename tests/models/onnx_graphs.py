"""Small networks, and the ONNX files made from them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3),
            nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
        )  # fmt: skip
        net[1].running_mean.normal_()
        net[1].weight.data.uniform_(0.5, 2)
        return net.eval()


def exported(path: Path, net: nn.Module | None = None, *, batch: int | None = None, size: int = 16) -> Path:
    """The file of a network, for batches of any number of images or of this one."""
    x = torch.zeros(batch or 2, 3, size, size)
    dynamic = None if batch else {"x": {0: "n"}, "y": {0: "n"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net or network(),
            (x,),
            str(path),
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes=dynamic,
        )
    return path


def linear_graph(**changes: Any) -> onnx.ModelProto:
    """A graph by hand: images (N, 3, 4, 4), flattened, times weights (48, 2)."""
    weights = np.random.default_rng(0).normal(size=(48, 2)).astype(np.float32)
    parts: dict[str, Any] = {
        "nodes": [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "inputs": [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4, 4])],
        "outputs": [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        "weights": [numpy_helper.from_array(weights, "w")],
        "opsets": [helper.make_opsetid("", 17)],
        "sparse": [],
        **changes,
    }
    graph = helper.make_graph(
        parts["nodes"],
        "g",
        parts["inputs"],
        parts["outputs"],
        parts["weights"],
        sparse_initializer=parts["sparse"],
    )
    return helper.make_model(graph, opset_imports=parts["opsets"], ir_version=8)


def written(path: Path, model: onnx.ModelProto, **metadata: str) -> Path:
    helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path
