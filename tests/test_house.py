"""The house keeps its measures: short files and functions, one name for one file, no circle of imports.

Circles between files are import-linter's to find (`make check`), but for those through a package's ``__init__``.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

import convscope

pytestmark = pytest.mark.same_everywhere

LINES, BODY = 300, 50  # of a file, and of a function without its docstring


def faults(root: Path) -> list[str]:
    """What is wrong with the files of a package, each in a line that says what to do."""
    files = sorted(root.rglob("*.py"))
    found = [fault for file in files for fault in _of_file(file, root)]
    names = Counter(file.name for file in files if file.stem != "__init__")
    for name in sorted(name for name, n in names.items() if n > 1):
        places = ", ".join(str(file.relative_to(root)) for file in files if file.name == name)
        found.append(f"{places}: one name with several meanings; call each file after what is in it")
    return found


def _of_file(file: Path, root: Path) -> Iterator[str]:
    place, text = file.relative_to(root), file.read_text(encoding="utf-8")
    if (n := len(text.splitlines())) > LINES:
        yield f"{place}: {n} lines, at most {LINES}; part it by what is in it"
    package = ".".join([root.name, *place.parent.parts])
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (n := _length(node)) > BODY:
            yield f"{place}:{node.lineno}: {node.name} has {n} lines of code, at most {BODY}; part it"
        if isinstance(node, ast.ImportFrom) and file.stem != "__init__":
            for origin in _imported_packages(node, package, root):
                yield f"{place}:{node.lineno}: imports {origin}, its own package; import the file with the name"


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement behind the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def _imported_packages(node: ast.ImportFrom, package: str, root: Path) -> Iterator[str]:
    """The packages around a file, but for the root, of which it imports a name that is no file of theirs."""
    name = "." * node.level + (node.module or "")
    origin = resolve_name(name, package) if node.level else name
    if origin != root.name and f"{package}.".startswith(f"{origin}."):  # the root itself imports nothing
        folder = root.parent / Path(*origin.split("."))
        for alias in node.names:
            if not (folder / f"{alias.name}.py").exists() and not (folder / alias.name).is_dir():
                yield origin


def test_the_house_keeps_its_measures() -> None:
    assert faults(Path(convscope.__file__).parent) == []


def test_the_guide_to_the_models_names_every_file_once() -> None:
    place = Path(convscope.models.__file__)
    _, _, guide = (convscope.models.__doc__ or "").partition("the one to read first.")
    named = [name for line in re.findall(r"  +(\w+(?:, \w+)*)$", guide, re.MULTILINE) for name in line.split(", ")]
    assert sorted(named) == sorted(file.stem for file in place.parent.glob("*.py") if file != place)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.py": "x = 1\n" * 300, "b/__init__.py": "", "c/__init__.py": "", "c/b.py": ""}, []),
        ({"a.py": "x = 1\n" * 301}, ["a.py: 301 lines, at most 300; part it by what is in it"]),
        ({"b/a.py": "", "a.py": "", "c/a.py": ""}, ["a.py, b/a.py, c/a.py: one name with several meanings"]),
        ({"a.py": "def f():\n    '''" + "\n" * 99 + "'''\n" + "    x = 1\n" * 50}, []),
        ({"a.py": "def f():\n    '''Doc.'''\n"}, []),
        ({"a.py": "async def f():\n" + "    x = 1\n" * 51}, ["a.py:1: f has 51 lines of code, at most 50"]),
        ({"a.py": "class A:\n    def f(self):\n" + "        x = 1\n" * 51}, ["a.py:2: f has 51 lines"]),
        ({"a.py": "def f():\n    def g():\n" + "        x = 1\n" * 51}, ["a.py:1: f has 52", "a.py:2: g has 51"]),
        ({"r/__init__.py": "from .a import x", "r/a.py": "from . import b", "r/b.py": "from ..c import d"}, []),
        (
            {"r/__init__.py": "from .a import x", "r/a.py": "def f():\n    from . import x"},
            ["r/a.py:2: imports p.r"],
        ),
        ({"r/s/a.py": "if TYPE_CHECKING:\n    from p.r import x"}, ["r/s/a.py:2: imports p.r, its own package"]),
        ({"r/a.py": "from p import x"}, []),
        ({"r/s/a.py": "from ...q import x\nfrom .. import t", "r/t/__init__.py": ""}, []),
    ],
)
def test_each_fault_is_found_where_it_is(files: dict[str, str], expected: list[str], tmp_path: Path) -> None:
    for name, text in files.items():
        place = tmp_path / "p" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    found = faults(tmp_path / "p")
    assert len(found) == len(expected), found
    assert all(one.startswith(start) for one, start in zip(found, expected, strict=True)), found
