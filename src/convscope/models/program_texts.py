"""Texts of an exported program that PyTorch evaluates or compiles: each must be what its place calls for.

The expressions of shapes go through SymPy, which evaluates them as Python; guards and names are pasted into source
code; the form of arguments can name a module to import.
"""

from __future__ import annotations

import ast
import json
import keyword
import re
from typing import Any

_LONGEST = 10_000
_FUNCTIONS = frozenset(
    (
        *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "Abs"),
        *("FloorDiv", "ModularIndexing", "Where", "PythonMod", "CleanDiv", "CeilToInt", "FloorToInt", "CeilDiv"),
        *("LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv", "TruncToFloat"),
        *("TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat", "Identity", "ceiling", "floor"),
        *("IsNonOverlappingAndDenseIndicator", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not"),
        *("Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan"),
    )
)
# Guards are Python: their functions are these.
_GUARD_FUNCTIONS = re.compile(
    r"torch\.(?:_sym_sqrt|sym_(?:not|int|float|ite|max|min|sqrt))|math\.(?:floor|ceil|trunc|sqrt)|max|min|abs"
)
_SYMBOL = re.compile(r"[a-z]{1,5}\d{1,9}", re.ASCII)
_PLAIN = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Load, ast.operator, ast.unaryop),
    *(ast.boolop, ast.cmpop),
)
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")
_DEEPEST = 60
_LARGEST_POWER = 16


def is_name(text: str) -> bool:
    """Whether it can stand for a variable in source code, and for nothing else."""
    return re.fullmatch(r"[A-Za-z_]\w{0,500}|", text, re.ASCII) is not None and not keyword.iskeyword(text)


def is_dotted(text: str) -> bool:
    """Whether it can stand for the path of a module or of a weight, and for nothing else."""
    return re.fullmatch(r"[\w.@+-]{0,1000}", text, re.ASCII) is not None


def is_expression(text: str) -> bool:
    """Whether it is an expression of a shape: whole numbers, symbols, arithmetic."""
    return _is_arithmetic(text, guards=False)


def is_guard(text: str) -> bool:
    """Whether it is a condition on the sides of inputs, as in ``L['x'].size()[2] >= 32``."""
    return _is_arithmetic(text, guards=True)


def _is_arithmetic(text: str, *, guards: bool) -> bool:
    if len(text) > _LONGEST or re.search(r"[^ -~]|[#\\{}\"]", text):
        return False
    try:
        tree = ast.parse(text, mode="eval")
        return _is_allowed(tree, guards, _DEEPEST)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_allowed(node: ast.AST, guards: bool, deepest: int) -> bool:
    """Whether a part of an expression, and all of its parts, are of the few forms that arithmetic has."""
    if guards and _is_side(node):
        return True
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and abs(node.value) < 2**63
    if isinstance(node, ast.Name):
        return _SYMBOL.fullmatch(node.id) is not None and not guards
    if isinstance(node, ast.Call):
        return _is_known_call(node, guards) and all(
            _is_allowed(part, guards, deepest - 1) for part in node.args if not _is_symbols_name(node, part)
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift) and not _is_small(node.right):
        return False
    parts = ast.iter_child_nodes(node)
    return isinstance(node, _PLAIN) and deepest > 0 and all(_is_allowed(p, guards, deepest - 1) for p in parts)


def _is_known_call(node: ast.Call, guards: bool) -> bool:
    if guards:
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        return len(name) < 40 and _GUARD_FUNCTIONS.fullmatch(name) is not None and not node.keywords
    if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS:
        return False
    if node.func.id in ("Pow", "PowByNatural", "FloatPow", "LShift") and not _is_small(node.args[-1]):
        return False
    return all(isinstance(k.value, ast.Constant) and isinstance(k.value.value, bool) for k in node.keywords)


def _is_symbols_name(call: ast.Call, part: ast.expr) -> bool:
    """Whether a part is the name in ``Symbol('s0', positive=True)``."""
    is_text = isinstance(part, ast.Constant) and isinstance(part.value, str)
    is_symbol = isinstance(call.func, ast.Name) and call.func.id == "Symbol"
    return is_text and is_symbol and _SYMBOL.fullmatch(part.value) is not None  # type: ignore[attr-defined]


def _is_small(node: ast.expr) -> bool:
    """Whether it is a small number, so that a power of it stays one that fits into memory."""
    if isinstance(node, ast.Call) and len(node.args) == 1:
        node = node.args[0]
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and abs(node.value) <= _LARGEST_POWER


def _is_side(node: ast.AST) -> bool:
    """Whether a node is ``L['x'].size()[2]``, or its like with ``stride``, or with a place in a list."""
    side = r"L(\['?\w+'?\])+\.(size|stride)\(\)\[\d+\]"
    return isinstance(node, ast.Subscript) and re.fullmatch(side, ast.unparse(node), re.ASCII) is not None


def is_form(text: str) -> bool:
    """Whether it describes tuples, lists and dicts of arguments: a TreeSpec of PyTorch in JSON."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, list) and len(found) == 2 and found[0] == 1 and _is_plain_form(found[1], _DEEPEST)


def _is_plain_form(form: Any, deepest: int) -> bool:
    if not isinstance(form, dict) or set(form) != {"type", "context", "children_spec"} or not deepest:
        return False
    context, parts = form["context"], form["children_spec"]
    is_known = form["type"] in _CONTAINERS and isinstance(parts, list)
    return is_known and _is_keys(context) and all(_is_plain_form(part, deepest - 1) for part in parts)


def _is_keys(context: Any) -> bool:
    """Whether the context of a container is nothing, or a list of names and numbers."""
    try:
        found = json.loads(context) if isinstance(context, str) else context
    except (ValueError, RecursionError):
        return False
    keys = [] if found is None else found
    return isinstance(keys, list) and all(
        (isinstance(key, str) and is_name(key)) or isinstance(key, int) for key in keys
    )
