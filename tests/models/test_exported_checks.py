"""Exported programs that were made to do harm: each is refused before any of it runs."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from convscope import ModelError, load_model
from convscope.models.program_texts import is_expression, is_form, is_guard

from .test_exported import X, net, written


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("exported") / "net.pt2", net(), X)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that the harmful code makes."""
    return tmp_path / "mark"


def changed(file: Path, to: Path, parts: dict[str, Any], graph: Callable[[Any], object] = lambda _: None) -> Path:
    """A copy of an archive with other parts, and with its graph changed in place."""
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(to, "w") as made:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "net/models/model.json":
                program = json.loads(content)
                graph(program)
                content = json.dumps(program).encode()
            if (short := name.removeprefix("net/")) not in parts:
                made.writestr(name, content)
            elif parts[short] is not None:
                made.writestr(name, parts[short])
        for short in parts.keys() - {name.removeprefix("net/") for name in archive.namelist()}:
            made.writestr(f"net/{short}", parts[short])
    return to


class Opens:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def touching(path: str) -> str:
    """Source code that makes a file."""
    return f"__import__('pathlib').Path('{path}').touch()"


def saved(value: Any, tmp_path: Path) -> bytes:
    torch.save(value, tmp_path / "saved")
    return (tmp_path / "saved").read_bytes()


def node(program: Any) -> Any:
    return program["graph_module"]["graph"]["nodes"][0]


def side(program: Any) -> Any:
    return program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0]["as_expr"]


def signature(program: Any) -> Any:
    return next(e["signature"] for e in program["graph_module"]["module_call_graph"] if e["fqn"] == "")


def renamed(program: Any, old: str, new: str) -> None:
    whole = json.dumps(program["graph_module"]).replace(json.dumps(old), json.dumps(new))
    program["graph_module"] = json.loads(whole)


def default_of(module: str, name: str) -> str:
    context = {"default_factory_module": module, "default_factory_name": name, "dict_context": []}
    form = {"type": "collections.defaultdict", "context": json.dumps(context), "children_spec": []}
    return json.dumps([1, form])


GRAPHS: dict[str, tuple[Callable[[Any, str], object], str]] = {
    "a function of Python by its path": (
        lambda p, m: node(p).update(target="torch.os.system"), "'torch.os.system', which is no operation"),
    "a function of Python as an argument": (
        lambda p, m: node(p)["inputs"][0].update(arg={"as_operator": "torch.os.system"}), "no operation on"),
    "an operation of another library": (
        lambda p, m: node(p).update(target="torch.ops.image.read_file.default"), "an operation of image"),
    "a mapped file": (
        lambda p, m: node(p).update(target="torch.ops.aten.from_file.default"), r"a text \(filename\)"),
    "an operation that calls others": (
        lambda p, m: node(p).update(target="torch.ops.higher_order.aoti_call_delegate"), "no operation on"),
    "an unchecked operation": (
        lambda p, m: node(p).update(target="torch.ops.aten._sparse_coo_tensor_unsafe.default"), "internal"),
    "an expression that is code": (
        lambda p, m: side(p).update(expr_str=touching(m)), "'expr_str' is .*evaluate"),
    "an expression for a tensor called metadata": (
        lambda p, m: p["graph_module"]["graph"]["tensor_values"].update(metadata={"sizes": [{"as_expr": {
            "expr_str": touching(m)}}]}), "'expr_str' is .*evaluate"),
    "a guard that is code": (
        lambda p, m: p.update(guards_code=[f"[{touching(m)}] and L['x'].size()[2] > 1"]), "'guards_code'"),
    "a name that is code": (
        lambda p, m: renamed(p, "conv2d", f"a; {touching(m)}; b"), "'name' is .*compile"),
    "an argument's name that is code": (
        lambda p, m: signature(p).update(forward_arg_names=[f"x={touching(m)}"]), "'forward_arg_names'"),
    "a weight's name that is code": (
        lambda p, m: renamed(p, "conv.weight", f'conv", {touching(m)}, "'), "which PyTorch would"),
    "a form that imports": (
        lambda p, m: signature(p).update(in_spec=default_of("antigravity", "fly")), "'in_spec' is .*import"),
    "a tensor that fills the memory": (
        lambda p, m: p["graph_module"]["graph"]["tensor_values"]["conv2d"].update(
            sizes=[{"as_int": 10**6}, {"as_int": 10**6}]), "1,000,000,000,000 values"),
}  # fmt: skip


@pytest.mark.parametrize("attack", GRAPHS)
def test_a_harmful_graph(file: Path, tmp_path: Path, mark: Path, attack: str) -> None:
    change, message = GRAPHS[attack]
    path = changed(file, tmp_path / "net.pt2", {}, lambda program: change(program, str(mark)))
    with pytest.raises(ModelError, match=message):
        load_model(path, device="cpu")
    assert not mark.exists()


@pytest.mark.parametrize("attack", ["an expression that is code", "a guard that is code"])
def test_these_attacks_would_have_run(file: Path, tmp_path: Path, mark: Path, attack: str) -> None:
    change, _ = GRAPHS[attack]
    path = changed(file, tmp_path / "net.pt2", {}, lambda program: change(program, str(mark)))
    with suppress(ModelError):
        load_model(path, device="cpu", trust_pickle=True)
    assert mark.exists()


def config(file: Path, kind: str, **changes: Any) -> bytes:
    with zipfile.ZipFile(file) as archive:
        content = json.loads(archive.read(f"net/data/{kind}/model_{kind}_config.json"))
    content["config"].setdefault("fc.bias", {"is_param": True, "tensor_meta": None}).update(changes)
    return json.dumps(content).encode()


def test_harmful_parts(file: Path, tmp_path: Path, mark: Path) -> None:
    pickled, raw = saved({"x": Opens(mark)}, tmp_path), pickle.dumps(Opens(mark))

    def entry(kind: str, **changes: Any) -> dict[str, Any]:
        return {f"data/{kind}/model_{kind}_config.json": config(file, kind, **changes)}

    weight, constants = "data/weights/weight_0", "data/constants/"

    attacks: list[tuple[dict[str, Any], str]] = [
        ({"data/sample_inputs/model.pt": pickled}, "data/sample_inputs/model.pt holds"),
        ({"data/weights/model.pt": pickled}, "data/weights/model.pt holds"),
        ({"data/constants/model.pt": pickled}, "data/constants/model.pt holds"),
        ({**entry("weights", use_pickle=True, path_name="weight_0"), weight: pickled}, "weight_0"),
        ({**entry("constants", path_name="custom_obj_0"), constants + "custom_obj_0": raw}, "custom_obj_0"),
        ({**entry("constants", path_name="opaque_obj_0"), constants + "opaque_obj_0": raw}, "opaque_obj_0"),
        (entry("weights", path_name="../sample_inputs/model.pt"), "no part with weights"),
        ({"data/aotinductor/model/model.so": b"\x7fELF"}, "a part 'data/aotinductor/model/model.so'"),
        ({"data/weights/weight_8": b""}, "has no bytes for weights of the shape"),
    ]  # fmt: skip
    for parts, message in attacks:
        path = changed(file, tmp_path / "net.pt2", parts)
        with pytest.raises(ModelError, match=message):
            load_model(path, device="cpu")
        assert not mark.exists()


def test_a_path_of_a_module_that_is_code(file: Path, tmp_path: Path, mark: Path) -> None:
    def change(program: Any) -> None:
        for one in program["graph_module"]["graph"]["nodes"]:
            stack = one["metadata"].get("nn_module_stack", "")
            one["metadata"]["nn_module_stack"] = stack.replace(
                ",conv,", f',conv" + str({touching(str(mark))}) + ",'
            )

    model = load_model(changed(file, tmp_path / "net.pt2", {}, change), device="cpu")
    assert model.predict(X).scores.shape == (3, 4)
    assert "cannot be taken apart" in " ".join(model.notes)
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["net/models/model.json", "net/models/Model.json", "other/models/model.json"])
def test_parts_that_two_readers_see_differently(file: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(file.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "{}")
    with pytest.raises(ModelError, match="made to mislead"):
        load_model(path, device="cpu")


def test_an_archive_that_expands_without_end(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(file.read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data/extra/zeros", bytes(2**26 + 1))
    with pytest.raises(ModelError, match="damaged or malicious"):
        load_model(path, device="cpu")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("Symbol('s77', positive=True, integer=True)", True),
        ("Add(FloorDiv(Add(Symbol('s0', positive=True), Integer(-1)), Integer(16)), Integer(1))", True),
        ("(s0 - 1)//2 + 1", True), ("Pow(Symbol('s0'), Integer(2))", True), ("Mul(2, s0)**2", True),
        ("__import__('os')", False), ("sympify('1')", False), ("s0.__class__", False), ("lambda: 1", False),
        ("(lambda x: x)(1)", False), ("Symbol('s0; import os')", False), ("2**10**10", False), ("9**99", False),
        ("LShift(Integer(1), Integer(10000000))", False), ("[s0]", False),
        ("Symbol('s0', positive=open('x'))", False),
        ("Symbol(*s0)", False), ("f'{s0}'", False), ("s0 #", False), ("ｓ0", False), ("", False),
    ],
)  # fmt: skip
def test_expressions(text: str, is_one: bool) -> None:
    assert is_expression(text) is is_one


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("(1 + (((-1) + L['x'].size()[3]) // 2)) != 1", True), ("L['args'][0].size()[0] <= 8", True),
        ("torch.sym_max(1, L['x'].size()[3] // 2) != 1", True),
        ("torch.load('x')", False), ("open(L['x'].size()[0])", False), ("L['x'].storage()[0] == 1", False),
        ("L['x'].size().__class__[0]", False), ("x == 1", False),
        ("L[open('x')].size()[0]", False), ("L['x'].size()[0]\n", False), ("print(1)", False),
    ],
)  # fmt: skip
def test_guards(text: str, is_one: bool) -> None:
    assert is_guard(text) is is_one


def test_forms() -> None:
    leaf = {"type": None, "context": None, "children_spec": []}
    plain = {"type": "builtins.dict", "context": '["image"]', "children_spec": [leaf]}
    assert is_form(json.dumps([1, plain]))
    enum = json.dumps({"__enum__": True, "fqn": "antigravity:E", "name": "A"})
    for change in (
        {"context": enum}, {"context": '["a-b"]'}, {"type": "collections.defaultdict"}, {"children_spec": [{}]},
    ):  # fmt: skip
        assert not is_form(json.dumps([1, {**plain, **change}]))
    assert not is_form("[1]")
    assert not is_form("{")
