"""See that a TorchScript file does nothing but compute, before and after PyTorch reads it.

TorchScript cannot call Python, but it has operations that write and map files, and a class may have its code run
while it is read (``__setstate__``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .known_operations import NAMESPACES, problem_with, refused_words
from .program_archives import ProgramArchive, harmful

_CODE = r"code/.*\.py"
# Classes of C++, some of which take the name of a file or a compiled library. A pickle gives a name in two lines.
_OF_LIBRARIES = re.compile(rb"torch[.\s]+classes\b")
_SETSTATE = b"__setstate__"
_OPERATION = re.compile(rb"(?<![\w.])ops[\s.]+(\w+)")


def refuse_harmful_code(archive: ProgramArchive) -> None:
    """`ModelError` if the code, which is not run yet, has words that harmless networks do without.

    Words are looked for anywhere, also in comments and texts, so that nothing depends on how code is parsed.
    """
    for name in archive.sizes:
        is_code = re.fullmatch(_CODE, name) is not None
        if not is_code and not name.endswith("pkl"):
            continue
        content = archive.read(name)
        if _OF_LIBRARIES.search(content):
            raise harmful(archive.path, f"{name} asks for a class of a library (torch.classes)")
        if not is_code:
            continue
        if _SETSTATE in content:
            raise harmful(archive.path, f"{name} has code that runs while it is read (__setstate__)")
        for namespace in _OPERATION.findall(content):
            if namespace.decode() not in NAMESPACES:
                raise harmful(archive.path, f"{name} asks for operations of {namespace.decode()}")
        words = set(re.findall(r"[A-Za-z_]\w*", content.decode("utf-8", "replace"), re.ASCII))
        for word in sorted(words & refused_words()):
            why = problem_with(f"aten::{word}") or problem_with(f"prim::{word}")
            raise harmful(archive.path, f"in {name}, {why}")


def refuse_harmful_operations(module: Any, path: Path) -> None:
    """`ModelError` if a method of a loaded network, none of which ran yet, has an operation that is not known."""
    for kind in sorted({kind for graph in _graphs(module) for kind in _kinds(graph)}):
        if problem := problem_with(kind):
            raise harmful(path, problem)


def _graphs(module: Any) -> Iterator[Any]:
    """The graphs of all methods and hooks, with what they call in its place."""
    for part in module.modules():
        cpp = part._c
        yield from (cpp._get_method(name).inlined_graph for name in cpp._method_names())
        yield from (hook.inlined_graph for hook in (*cpp._get_forward_hooks(), *cpp._get_forward_pre_hooks()))


def _kinds(graph: Any) -> Iterator[str]:
    for node in graph.nodes():
        yield node.kind()
        for block in node.blocks():
            yield from _kinds(block)
        for name in node.attributeNames():
            if node.kindOf(name) == "g":
                yield from _kinds(node.g(name))
