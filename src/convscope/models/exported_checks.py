"""See that an exported program does nothing but compute, before PyTorch reads it.

`torch.export.load` unpickles, imports, evaluates and compiles what the file says, so all of that is looked at
first: which parts the file has, which operations its graph calls, and every text in it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import ModelError
from .known_operations import problem_with
from .program_archives import ProgramArchive, harmful
from .program_texts import is_dotted, is_expression, is_form, is_guard, is_name

_GRAPH = r"models/\w+\.json|serialized_exported_program\.json"
_WEIGHTS = r"data/(?:weights|constants)/(\w+)_config\.json"
# Written by torch.save: example inputs, and, before 2.9, weights.
_PICKLED = (
    r"data/(?:sample_inputs|weights|constants)/\w+\.pt|serialized_(?:state_dict|constants|example_inputs)\.pt"
)
_RAW = r"data/weights/weight_\d+|data/constants/tensor_\d+"
_PLAIN = (
    r"version|byteorder|archive_format|archive_version|\.data/[\w/]+|extra_files/.*|data/extra/.*|\.format_version"
)
_KNOWN = re.compile("|".join((_GRAPH, _WEIGHTS, _PICKLED, _RAW, _PLAIN)), re.ASCII)
# Numbers of Python and of shapes, besides operations.
_ON_NUMBERS = re.compile(
    r"_operator\.(?:getitem|eq|ne|le|ge|lt|gt|neg|pos|mul|add|sub|floordiv|mod|pow|truediv|and_|or_|lshift|rshift)|"
    r"math\.(?:trunc|ceil|floor|sqrt)|torch\.(?:sym_(?:not|int|float|ite|max|min|sqrt|sum|fresh_size)|_sym_\w+)"
)
_WITH_GRAPHS = r"torch\.ops\.higher_order\.(?:cond|wrap_with_set_grad_enabled|wrap_with_autocast)"
_OPERATION = re.compile(r"torch\.ops\.(\w+)\.(\w+)\.\w+", re.ASCII)
_MOST_VALUES = 2**29  # of one tensor, 2 GiB in float32

# What a text has to be, by the key under which it stands; any other is the path of a module or a weight.
_TEXTS: dict[str, Callable[[str], bool]] = {
    **dict.fromkeys(("name", "as_name", "forward_arg_names", "field_names"), is_name),
    **dict.fromkeys(("in_spec", "out_spec"), is_form),
    "expr_str": is_expression,
    "guards_code": is_guard,
    "as_string": lambda text: True,  # an argument, which stays a text
}


def refuse_harmful_program(archive: ProgramArchive) -> None:
    """`ModelError` for a file with anything that is not known to be harmless."""
    for name in archive.sizes:
        if not _KNOWN.fullmatch(name):
            raise harmful(archive.path, f"it has a part {name!r}, which is no part of a graph with its weights")
    for name in archive.matching(_PICKLED):
        archive.refuse_pickled_code(name)
    for name in archive.matching(_WEIGHTS):
        _check_weights(archive, name)
    for name in archive.matching(_GRAPH):
        _check_texts(archive, name, _json(archive, name))


def _json(archive: ProgramArchive, name: str) -> dict[str, Any]:
    try:
        found = json.loads(archive.read(name))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{archive.path}: not a readable program of torch.export ({name}: {error})") from None
    if not isinstance(found, dict):
        raise ModelError(f"{archive.path}: not a readable program of torch.export ({name} is no object)")
    return found


def _check_weights(archive: ProgramArchive, name: str) -> None:
    """`ModelError` for weights that are unpickled as anything but tensors, or that no bytes stand behind."""
    entries, folder = _json(archive, name).get("config"), name.rpartition("/")[0]
    for entry in entries.values() if isinstance(entries, dict) else ():
        place = f"{folder}/{entry.get('path_name')}" if isinstance(entry, dict) else ""
        if place not in archive.sizes or not re.fullmatch(_RAW, place):
            raise harmful(archive.path, f"{name} asks for {place!r}, which is no part with weights")
        if entry.get("use_pickle"):
            archive.refuse_pickled_code(place)
        sizes = _static(entry.get("tensor_meta"))
        if archive.sizes[place] == 0 and math.prod(sizes) > 0:
            raise ModelError(
                f"{archive.path}: has no bytes for weights of the shape {tuple(sizes)}; it is damaged"
            )


def _static(meta: Any) -> list[int]:
    """The sides of a tensor that are numbers."""
    sides = meta.get("sizes", ()) if isinstance(meta, dict) else ()
    numbers = [side.get("as_int") for side in sides if isinstance(side, dict)]
    return [side for side in numbers if isinstance(side, int)]


def _check_texts(archive: ProgramArchive, name: str, content: dict[str, Any]) -> None:
    for key, found in _entries(content):
        if key == "tensor_values" and isinstance(found, dict):
            for tensor, meta in found.items():
                if math.prod(_static(meta)) > _MOST_VALUES:
                    raise ModelError(
                        f"{archive.path}: its tensor {tensor!r} has {math.prod(_static(meta)):,} values for one "
                        f"image; at most {_MOST_VALUES:,} are taken"
                    )
        if isinstance(found, str):
            problem = _problem_with_text(key, found)
            if problem:
                raise harmful(archive.path, f"in {name}, {problem}")


def _problem_with_text(key: str, text: str) -> str | None:
    if key in ("target", "as_operator"):
        return _problem_with_target(text)
    if _TEXTS.get(key, is_dotted)(text):
        return None
    return f"{key!r} is {text[:80]!r}, which PyTorch would evaluate, compile or import"


def _problem_with_target(target: str) -> str | None:
    """Why the function that a node calls is not known to be harmless; PyTorch finds it by its path."""
    operation = _OPERATION.fullmatch(target)
    if operation is not None and operation[1] != "higher_order":
        return problem_with(f"{operation[1]}::{operation[2]}")
    if _ON_NUMBERS.fullmatch(target) or re.fullmatch(_WITH_GRAPHS, target):
        return None
    return f"it calls {target[:80]!r}, which is no operation on tensors"


def _entries(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a graph, under the nearest key. The keys of dicts are texts as well, and must be paths.

    What describes a node for people, with texts as values, is left out: PyTorch keeps it as it is.
    """
    if isinstance(content, dict):
        for inner, value in content.items():
            yield "", inner
            yield inner, value
            is_for_people = inner == "metadata" and isinstance(value, dict) and _are_texts(value)
            if not is_for_people:
                yield from _entries(value, inner)
    elif isinstance(content, list):
        for value in content:
            yield key, value
            yield from _entries(value, key)


def _are_texts(content: dict[str, Any]) -> bool:
    return all(isinstance(value, str) for value in content.values())
