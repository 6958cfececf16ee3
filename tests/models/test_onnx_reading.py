"""ONNX files that are damaged or hostile end in an error, and nothing outside of their folder is read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.testing import assert_allclose
from onnx import TensorProto, helper

from convscope import Model, ModelError, load_model
from convscope.models import onnx_reading

from .onnx_graphs import linear_graph, written


def external(location: str, **entries: Any) -> onnx.ModelProto:
    """The graph with its weights in another file."""
    model = linear_graph()
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return model


def weights() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(48, 2)).astype(np.float32)


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(bytes(8) + weights().tobytes())
    path = written(tmp_path / "n.onnx", external("data/w.bin", offset=8, length=384))
    x = torch.randn(2, 3, 4, 4)
    assert_allclose(load_model(path, device="cpu").predict(x).scores, x.flatten(1).numpy() @ weights(), rtol=1e-4)


PLACES = [
    "../secret",
    "data/../../secret",
    "/etc/passwd",
    "C:\\secret",
    "..\\secret",
    "link",
    "folder/secret",
    "",
    ".",
]


@pytest.mark.parametrize("location", PLACES)
def test_nothing_outside_of_the_folder_is_read(
    tmp_path: Path, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    for secret in (tmp_path / "secret", tmp_path / "out" / "secret"):
        secret.parent.mkdir(exist_ok=True)
        secret.write_bytes(weights().tobytes())
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "folder").symlink_to(tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    path = written(inside / "n.onnx", external(location))
    with pytest.raises(ModelError, match=r"outside of its folder|out of its folder|not there"):
        load_model(path)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"offset": 100}, "do not belong together"),
        ({"offset": 0, "length": 10**15}, "cut short or damaged"),
        ({"offset": -8}, "cut short or damaged"),
        ({"offset": "x"}, "is no place"),
        ({"length": 383}, "do not belong together"),
    ],
)
def test_a_wrong_place_in_the_other_file(tmp_path: Path, entries: dict[str, Any], said: str) -> None:
    (tmp_path / "w.bin").write_bytes(weights().tobytes())
    with pytest.raises(ModelError, match=said):
        load_model(written(tmp_path / "n.onnx", external("w.bin", **entries)))


def huge_shape() -> onnx.ModelProto:
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [2**20, 2**20])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["c"]),
        helper.make_node("ReduceSum", ["c"], ["s"], keepdims=0),
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["p"]),
        helper.make_node("Add", ["p", "s"], ["y"]),
    ]
    return linear_graph(nodes=nodes, weights=[*linear_graph().graph.initializer, shape])


def huge_sparse() -> onnx.ModelProto:
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    return linear_graph(weights=[], sparse=[helper.make_sparse_tensor(values, places, [2**32, 2])])


def huge_weights() -> onnx.ModelProto:
    model = linear_graph()
    model.graph.initializer[0].dims[:] = [2**40, 2]
    return model


def custom_operator(domain: str, name: str) -> Callable[[], onnx.ModelProto]:
    def build() -> onnx.ModelProto:
        nodes = [helper.make_node(name, ["x"], ["y"], domain=domain)]
        versions = {domain: 1, "": 17}
        return linear_graph(nodes=nodes, opsets=[helper.make_opsetid(*one) for one in versions.items()])

    return build


def two_inputs() -> onnx.ModelProto:
    extra = helper.make_tensor_value_info("meta", TensorProto.FLOAT, ["n", 2])
    nodes = [*linear_graph().graph.node[:1], helper.make_node("MatMul", ["flat", "w"], ["p"])]
    nodes.append(helper.make_node("Add", ["p", "meta"], ["y"]))
    return linear_graph(nodes=nodes, inputs=[*linear_graph().graph.input, extra])


def of_numbers() -> onnx.ModelProto:
    return linear_graph(inputs=[helper.make_tensor_value_info("x", TensorProto.INT64, ["n", 3, 4, 4])])


def looped(rounds: int | None, *, around: int | None = None, computed: bool = False) -> onnx.ModelProto:
    """Images through a loop of so many rounds, None for as many as it likes, maybe inside of another."""
    value = helper.make_tensor_value_info

    def loop(name: str, times: int | None, body: list[Any], result: str) -> Any:
        graph = helper.make_graph(
            [helper.make_node("Identity", [f"{name}_go"], [f"{name}_goes"]), *body],
            name,
            [
                value(f"{name}_i", TensorProto.INT64, []),
                value(f"{name}_go", TensorProto.BOOL, []),
                value(f"{name}_in", TensorProto.FLOAT, None),
            ],
            [value(f"{name}_goes", TensorProto.BOOL, []), value(f"{name}_out", TensorProto.FLOAT, None)],
        )
        times_name = "" if times is None else "computed" if computed else f"times_{times}"
        return helper.make_node("Loop", [times_name, "yes", result], [f"{name}_end"], body=graph)

    inner = loop("a", rounds, [helper.make_node("Neg", ["a_in"], ["a_out"])], "flat" if around is None else "b_in")
    nodes = [helper.make_node("Flatten", ["x"], ["flat"])]
    if computed:
        nodes += [helper.make_node("Size", ["x"], ["computed"])]
    if around is not None:
        body = [inner, helper.make_node("Identity", ["a_end"], ["b_out"])]
        inner = loop("b", around, body, "flat")
    nodes += [inner, helper.make_node("MatMul", [inner.output[0], "w"], ["y"])]
    constants = [helper.make_tensor("yes", TensorProto.BOOL, [], [True])]
    given = {rounds, around} - {None}
    constants += [helper.make_tensor(f"times_{times}", TensorProto.INT64, [], [times]) for times in given]
    return linear_graph(nodes=nodes, weights=[*linear_graph().graph.initializer, *constants])


def doubling_functions() -> onnx.ModelProto:
    """Sixty functions, each of which calls the next one twice."""
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = linear_graph(nodes=[helper.make_node("f0", ["x"], ["y"], domain="own")], weights=[], opsets=versions)
    for i in range(60):
        domain, name = ("own", f"f{i + 1}") if i < 59 else ("", "Neg")
        calls = [helper.make_node(name, [a], [b], domain=domain) for a, b in (("a", "b"), ("b", "c"))]
        model.functions.append(helper.make_function("own", f"f{i}", ["a"], ["c"], calls, versions))
    return model


def test_a_loop_with_a_bound_runs(tmp_path: Path) -> None:
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    scores = [load_model(written(tmp_path / "n.onnx", looped(n)), device="cpu").predict(x).scores for n in (2, 3)]
    assert_allclose(scores[0], x.flatten(1).numpy() @ weights(), rtol=1e-4, atol=1e-5)
    assert_allclose(scores[1], -scores[0], rtol=1e-5)


def test_a_shape_that_is_computed_in_a_run_is_bounded_by_memory(tmp_path: Path) -> None:
    model = linear_graph()
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Div", ["whole", "hundred"], ["hundreds"]),
        helper.make_node("Mul", ["hundreds", "many"], ["side"]),
        helper.make_node("Reshape", ["side", "one"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["c"]),
        helper.make_node("ReduceSum", ["c"], ["s"], keepdims=0),
        *model.graph.node,
    ]
    nodes[-1].output[0] = "p"
    nodes.append(helper.make_node("Add", ["p", "s"], ["y"]))
    values = {"many": 10**13, "one": 1, "hundred": 100}
    numbers = [helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in values.items()]
    path = written(tmp_path / "n.onnx", linear_graph(nodes=nodes, weights=[*model.graph.initializer, *numbers]))
    loaded = load_model(path, device="cpu")
    assert np.isfinite(loaded.predict(torch.zeros(1, 3, 4, 4)).scores).all()
    with pytest.raises(ModelError, match=r"onnxruntime cannot run this graph on .*more than half of this machine"):
        loaded.predict(torch.full((1, 3, 4, 4), 200.0))


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a huge tensor": (huge_shape, "values for one image"),
    "huge sparse weights": (huge_sparse, "values for one image"),
    "huge weights": (huge_weights, "values for one image|no valid ONNX graph"),
    "an operator of its own": (custom_operator("evil.ops", "Run"), "libraries of custom operators are not loaded"),
    "an operator that opens files": (custom_operator("com.microsoft", "EPContext"), "not part of onnxruntime"),
    "an unknown operator": (custom_operator("", "Nonsense"), "no valid ONNX graph"),
    "an old opset": (lambda: linear_graph(opsets=[helper.make_opsetid("", 3)]), "is of opset 3"),
    "an opset to come": (lambda: linear_graph(opsets=[helper.make_opsetid("", 999)]), "is of opset 999"),
    "several inputs": (two_inputs, r"takes 2 inputs \(x \(0, 3, 4, 4\), meta \(0, 2\)\)"),
    "numbers": (of_numbers, "no valid ONNX graph|expected floating-point images"),
    "a loop without end": (lambda: looped(None), "its loop 'a_end' may run without end"),
    "a loop of many rounds": (lambda: looped(10**9), "has to be a constant, of at most 10,000"),
    "a loop in a loop": (lambda: looped(200, around=300), "its loop 'a_end' may run without end"),
    "a loop of computed rounds": (lambda: looped(5, computed=True), "has to be a constant"),
    "functions that double": (doubling_functions, r"operations; at most 200,000 are read"),
    "no weights": (lambda: linear_graph(weights=[]), "no valid ONNX graph|cannot run"),
    "no nodes": (lambda: linear_graph(nodes=[]), "has no graph"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_graph_that_is_refused(tmp_path: Path, kind: str) -> None:
    build, said = REFUSED[kind]
    with pytest.raises(ModelError, match=said) as caught:
        load_model(written(tmp_path / "n.onnx", build()))
    assert "n.onnx" in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short(tmp_path: Path, share: float) -> None:
    whole = linear_graph().SerializeToString()
    path = tmp_path / "n.onnx"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelError, match=r"n\.onnx"):
        load_model(path)


def test_any_single_wrong_byte_is_an_error_or_a_network(tmp_path: Path) -> None:
    whole, path, generator = linear_graph().SerializeToString(), tmp_path / "n.onnx", np.random.default_rng(0)
    for place in generator.choice(len(whole), 60, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= int(generator.integers(1, 256))
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(ModelError):
            assert isinstance(load_model(path, device="cpu"), Model)


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_reading, "_LARGEST", 300)
    with pytest.raises(ModelError, match="at most 300 can be read"):
        load_model(written(tmp_path / "n.onnx", linear_graph()))
    (tmp_path / "w.bin").write_bytes(weights().tobytes())
    with pytest.raises(ModelError, match="more than 300 bytes of weights"):
        load_model(written(tmp_path / "n.onnx", external("w.bin")))


def test_a_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    path = written(tmp_path / "n.bin", linear_graph())
    assert load_model(path, device="cpu").predict(torch.zeros(1, 3, 4, 4)).scores.shape == (1, 2)
    with pytest.raises(ModelError, match="is an ONNX graph, not weights"):
        load_model("torchvision:resnet18", weights=path)


def test_without_onnxruntime_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"pip install convscope\[onnx\]"):
        load_model(written(tmp_path / "n.onnx", linear_graph()))
