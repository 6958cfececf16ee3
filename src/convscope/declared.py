"""What the package declares, read from its source text, for those who cannot wait until torch is imported.

A function is found by its public name, and its annotations are followed to the numbers and choices that they stand
for. As nothing is imported, every class, of this package and of others, is `object`.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import sys
import typing
from importlib.util import resolve_name
from pathlib import Path
from typing import Any, NamedTuple

_ROOT = Path(__file__).parent.parent


class Function(NamedTuple):
    """A function of the package: its docstring, its parameters with their annotations, its decorators.

    ``decorators`` has the keywords given to each decorator, by its name.
    """

    doc: str
    parameters: dict[str, inspect.Parameter]
    decorators: dict[str, dict[str, Any]]


@functools.cache
def function(name: str, module: str = "convscope") -> Function:
    """The function of this name in a module, wherever the module has it from."""
    home, node = _found(name, module)
    if not isinstance(node, ast.FunctionDef):
        raise LookupError(f"{module} has no function {name!r}")
    decorators = dict(_decorator(d, home) for d in node.decorator_list)
    return Function(ast.get_docstring(node) or "", dict(_parameters(node.args, home)), decorators)


def functions(module: str) -> tuple[str, ...]:
    """The names of the functions that a module defines or imports, in its order."""
    return tuple(name for name in _bindings(module) if isinstance(_found(name, module)[1], ast.FunctionDef))


def value(name: str, module: str) -> Any:
    """What a constant of a module holds: an annotation, or numbers and texts."""
    home, node = _found(name, module)
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        return _meaning(node.value, home)
    if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in sys.stdlib_module_names:
        return getattr(importlib.import_module(node.module), name)
    return getattr(builtins, name, object) if node is None else object


def _decorator(node: ast.expr, home: str) -> tuple[str, dict[str, Any]]:
    """The name of a decorator, and the keywords given to it."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func), {word.arg: _meaning(word.value, home) for word in node.keywords if word.arg}
    return ast.unparse(node), {}


def _parameters(given: ast.arguments, home: str) -> typing.Iterator[tuple[str, inspect.Parameter]]:
    """Parameters by name, those before and those behind the star."""
    plain = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(plain) - len(given.defaults)), *given.defaults, *given.kw_defaults]
    for n, (argument, default) in enumerate(zip([*plain, *given.kwonlyargs], defaults, strict=True)):
        yield (
            argument.arg,
            inspect.Parameter(
                argument.arg,
                inspect.Parameter.POSITIONAL_OR_KEYWORD if n < len(plain) else inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if default is None else _meaning(default, home),
                annotation=_meaning(argument.annotation, home) if argument.annotation else Any,
            ),
        )


def _meaning(node: ast.expr, home: str) -> Any:
    """An annotation or a constant, from its syntax."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return value(node.id, home)
        case ast.Tuple():
            return tuple(_meaning(part, home) for part in node.elts)
        case ast.List():
            return [_meaning(part, home) for part in node.elts]
        case ast.Dict():
            return {_meaning(k, home): _meaning(v, home) for k, v in zip(node.keys, node.values, strict=True) if k}
        case ast.UnaryOp(op=ast.USub()):
            return -_meaning(node.operand, home)
        case ast.Call(func=ast.Name(id="get_args"), args=[kind]):
            return typing.get_args(_meaning(kind, home))
        case ast.BinOp(op=ast.BitOr()):
            return typing.Union[_meaning(node.left, home), _meaning(node.right, home)]  # noqa: UP007
        case ast.Subscript():
            of = _meaning(node.value, home)
            return object if of is object else of[_meaning(node.slice, home)]
    return object


def _found(name: str, module: str) -> tuple[str, ast.stmt | None]:
    """The module of this package in which a name is defined, and where; None for what the module does not bind."""
    node = _bindings(module).get(name)
    if not isinstance(node, ast.ImportFrom) or not node.level:
        return module, node
    package = module if _file(module).stem == "__init__" else module.rpartition(".")[0]
    origin = resolve_name("." * node.level + (node.module or ""), package)
    given = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
    return _found(given, origin)


@functools.cache
def _bindings(module: str) -> dict[str, ast.stmt]:
    """The statement that binds each name of a module, those in its ``if``s too."""
    found: dict[str, ast.stmt] = {}
    todo = ast.parse(_file(module).read_text(encoding="utf-8")).body
    for node in [inner for outer in todo for inner in (outer.body if isinstance(outer, ast.If) else [outer])]:
        match node:
            case ast.ImportFrom() | ast.Import():
                found |= {alias.asname or alias.name: node for alias in node.names}
            case ast.FunctionDef() | ast.ClassDef():
                found[node.name] = node
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = node
    return found


@functools.cache
def _file(module: str) -> Path:
    """Where a module's source is; that of a package with a stub is the stub."""
    place = _ROOT / Path(*module.split("."))
    candidates = (place / "__init__.pyi", place / "__init__.py", place.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), place)
