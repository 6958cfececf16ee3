"""A network named as "package.module:build" or "path/to/file.py:build": where the code is, before anything runs.

Only `imported` runs the user's code. What comes before it reads files, so that a mistyped name is answered before
torch is imported.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from .errors import ModelError
from .texts import listed, printable

_PLACE = re.compile(r"(?:(?P<file>.+\.py)|(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*)):(?P<name>[^\W\d]\w*)")
_LONGEST = 10_000_000  # bytes of source that are read


class Place(NamedTuple):
    """Where a network comes from: ``name`` in a ``module``, or in a ``file`` that is run as one."""

    module: str
    file: Path | None
    name: str


def place_of(source: str) -> Place | None:
    """What "package.module:build" and "path/to/file.py:build" stand for; None for any other text."""
    found = _PLACE.fullmatch(source)
    if found is None:
        return None
    file = Path(found["file"]) if found["file"] else None
    return Place(found["module"] or (file.stem if file else ""), file, found["name"])


def is_there(place: Place) -> bool:
    """Whether there is such a file, or a package or module of the first name."""
    if place.file is not None:
        return True  # nothing else is written with .py: in it
    return (
        place.module.partition(".")[0] in sys.builtin_module_names
        or _spec(place.module.partition(".")[0]) is not None
    )


def check(place: Place) -> None:
    """`ModelError` for a module that is not there, cannot be parsed, or has no such name; nothing of it is run."""
    file = place.file if place.file is not None else _file_of(place.module)
    if file is None:  # built in, compiled, or a package without a file
        return
    if not file.is_file():
        raise ModelError(f"{file}: no such file")
    if file.stat().st_size > _LONGEST:
        return
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes
        raise ModelError(f"{file} cannot be imported: {_told(error)}") from None
    names = _bound(tree)
    if names is not None and place.name not in names:
        near = difflib.get_close_matches(place.name, names, n=3)
        public = [name for name in names if not name.startswith("_")]
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {listed(public, 8) or 'no names'}"
        raise ModelError(f"{place.name!r} is not in {file}; {hint}")


def imported(place: Place) -> Any:
    """Import the module, which runs it, and return what has the name in it.

    Raises:
        ModelError: the module is not there, its code failed, or it has no such name.
    """
    check(place)
    with explained(f"importing {place.file or place.module}"):
        module = _run_file(place) if place.file is not None else importlib.import_module(place.module)
    try:
        return getattr(module, place.name)
    except AttributeError:
        raise ModelError(f"{place.name!r} is not in {place.file or place.module}") from None


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Inside, modules in a folder can be imported, as those beside a script can."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """What the user's code raises inside becomes a `ModelError` with its last line and where it was raised."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ModelError(f"{doing} failed: {_told(error)}") from error


def _run_file(place: Place) -> ModuleType:
    """A file as a module under a name of its own, so that it takes nobody's place in `sys.modules`."""
    assert place.file is not None
    name = f"convscope_network_{place.module}"
    spec = spec_from_file_location(name, place.file.resolve())
    if spec is None or spec.loader is None:
        raise ImportError(f"{place.file} is no Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickle look it up
    spec.loader.exec_module(module)
    return module


def _told(error: BaseException) -> str:
    """The last line of an error as Python prints it, and the line of the user's code that it came from."""
    last = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, SystemExit):
        last += (
            " (it ends the program, as a script does that reads options: put that under if __name__ == '__main__')"
        )
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return printable(f"{last} ({error.filename}:{error.lineno}{_quoted(error.text)})")
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    if not own:
        return printable(last)
    return printable(f"{last} ({own[-1].filename}:{own[-1].lineno}{_quoted(own[-1].line)})")


def _quoted(line: str | None) -> str:
    return f": {line.strip()[:100]}" if line and line.strip() else ""


def _is_users(file: str) -> bool:
    """Whether a file is neither of Python, nor installed, nor of this package."""
    parts = Path(file).parts
    library = Path(traceback.__file__).parent
    own = Path(__file__).parent
    path = Path(file)
    return not (
        file.startswith("<")
        or "site-packages" in parts
        or "dist-packages" in parts
        or path.is_relative_to(library)
        or path.is_relative_to(own)
    )


def _spec(module: str) -> ModuleSpec | None:
    """Where a module is, found part by part, as importing its package to find it would run that."""
    search: Any = None
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for n in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: n + 1]), search)
        if spec is None:
            return None
        search = spec.submodule_search_locations or []
    return spec


def _file_of(module: str) -> Path | None:
    """The source of a module; None where it is compiled; `ModelError` where there is none."""
    if module in sys.builtin_module_names:
        return None
    spec = _spec(module)
    if spec is None:
        package = module.rpartition(".")[0]
        while package and _spec(package) is None:
            package = package.rpartition(".")[0]
        hint = (
            f"{package} has no such module{_near(module, package)}" if package else "no such module is on the path"
        )
        raise ModelError(f"no module {module!r}: {hint}")
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


def _near(module: str, package: str) -> str:
    """The modules of a package that may have been meant."""
    spec = _spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    names = [path.stem for folder in folders for path in Path(folder).glob("*") if path.suffix in ("", ".py")]
    wanted = module.removeprefix(f"{package}.").partition(".")[0]
    near = difflib.get_close_matches(wanted, names, n=3)
    return f"; did you mean {' or '.join(f'{package}.{name}' for name in near)}?" if near else ""


def _bound(tree: ast.Module) -> list[str] | None:
    """The names that a module binds, in its order; None where that shows only when it runs."""
    names: dict[str, None] = {}
    todo: list[ast.AST] = list(reversed(tree.body))
    while todo:
        node = todo.pop()
        match node:
            case ast.FunctionDef(name="__getattr__") | ast.ImportFrom(names=[ast.alias(name="*")]):
                return None
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names[node.name] = None
                continue
            case ast.Import() | ast.ImportFrom():
                names |= dict.fromkeys(alias.asname or alias.name.partition(".")[0] for alias in node.names)
            case ast.Name(id=name, ctx=ast.Store()):
                names[name] = None
            case ast.Call(func=ast.Name(id="globals" | "exec" | "setattr")):
                return None
        todo.extend(reversed(list(ast.iter_child_nodes(node))))
    return list(names)
