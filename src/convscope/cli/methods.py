"""Commands made from the library's functions: their options from the signature, their help from the docstring.

Listing the commands must not import torch, so names and summaries are read from the source text; a
command's function is imported when the command is looked at or run.
"""

from __future__ import annotations

import ast
import inspect
import re
import typing
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .console import free_output, progress_bar, reporting, save, saving_partial, show
from .options import AsJson, Network, Output, chosen_images, chosen_target, parameter, set_parameters, with_network

PACKAGE = Path(__file__).parent.parent
# Functions (model, what it looks at, *, options) -> result, beside every registered attribution.
_OTHERS = {"filters": "activations.py", "feature_maps": "activations.py", "visualize": "synthesis/visualize.py"}


@cache
def method_summaries() -> dict[str, str]:
    """Command name -> first line of its function's docstring, without importing anything."""
    registered = {path.stem: path.relative_to(PACKAGE) for path in sorted((PACKAGE / "attribution").glob("*.py"))}
    found = {}
    for name, path in ({k: Path(v) for k, v in _OTHERS.items()} | registered).items():
        tree = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                found[name.replace("_", "-")] = (ast.get_docstring(node) or "").split("\n")[0]
    return found


def _pair(text: str) -> Any:
    """One number, or two as HEIGHT,WIDTH."""
    if not re.fullmatch(r"\d+([,x]\d+)?", text):
        raise typer.BadParameter(f"{text!r}: expected pixels, 32 or 32,16 (height,width)")
    numbers = tuple(int(part) for part in re.split("[,x]", text))
    return numbers[0] if len(numbers) == 1 else numbers


def _window(text: str) -> Any:
    """Pixels, or "auto"."""
    return text if text == "auto" else _pair(text)


def number_or_text(text: str) -> Any:
    """A number, or a name or path."""
    try:
        return float(text)
    except ValueError:
        return text


# One meaning for one name, everywhere in the library: what the text of an option becomes.
_PARSERS: dict[str, Callable[[str], Any]] = {
    "target": chosen_target,
    "window": _window,
    "stride": _pair,
    "superpixel": _pair,
    "size_px": _pair,
    "baseline": number_or_text,
}
_MORE_HELP = {"target": ' "A rather than B" takes the difference of two classes.'}  # what only text can say


def build(command: str) -> Callable[..., None]:
    """The function behind a command, with the signature that the command line reads."""
    import convscope

    method: Callable[..., Any] = getattr(convscope, command.replace("-", "_"))
    hints = typing.get_type_hints(method)
    help_of = argument_help(method)
    parameters = list(inspect.signature(method).parameters.values())
    positional = [p.name for p in parameters[1:] if p.default is p.empty]
    shared = [
        parameter(name, kind, default)
        for name, kind, default in (
            ("output", Output, None),
            ("as_json", AsJson, False),
        )
    ]
    own = [
        _option(
            p,
            hints[p.name],
            help_of.get(p.name, "") + _MORE_HELP.get(p.name, ""),
            several=_takes_list(hints[p.name]) and "images" in positional,
        )
        for p in parameters[1:]
        if p.name not in ("progress", *positional)
    ]

    counted = re.match(r"Called with \((\w+) done", help_of.get("progress", ""))
    unit = counted.group(1) if counted else ""

    def run(model: Network, **given: Any) -> None:
        options = {p.name: _value(p.name, given[p.name]) for p in own if given[p.name] is not None}
        looked_at = {name: _argument(name, given[name]) for name in positional}
        output = free_output(given["output"], command)
        network = model()
        if "progress" not in hints:
            result = method(network, **looked_at, **options)
        else:
            with saving_partial(output, given["as_json"]), progress_bar(command, unit) as step:
                result = method(network, **looked_at, progress=step, **options)
        show(result, save(result, output), given["as_json"])

    arguments = [
        parameter(name, _ARGUMENTS[name], None if name == "target" else inspect.Parameter.empty)
        for name in positional
    ]
    set_parameters(run, [*arguments, *own, *shared])
    run.__doc__ = _description(inspect.getdoc(method) or "")
    return reporting(with_network(run))


def _description(doc: str) -> str:
    """A docstring up to its Args, each paragraph on one line for the terminal to wrap; formulas as they are."""
    paragraphs = doc.split("\n\nArgs:")[0].split("\n\n")
    return "\n\n".join("\b\n" + text if text.startswith("    ") else " ".join(text.split()) for text in paragraphs)


_ARGUMENTS: dict[str, Any] = {
    "images": Annotated[list[Path], typer.Argument(help="Image files or folders.", show_default=False)],
    "target": Annotated[
        str | None,
        typer.Argument(help="Class index or label; with --layer a channel, CHANNEL,ROW,COLUMN, or nothing."),
    ],
}


def example(command: str) -> str:
    """A line to copy, at the end of the help."""
    sample = {"filters": "", "visualize": " espresso"}.get(command, " photo.jpg")
    return f"Example: convscope {command}{sample} --output out/{command}"


def _argument(name: str, value: Any) -> Any:
    if name == "images":
        return chosen_images(value)
    return chosen_target(value)


def _value(name: str, value: Any) -> Any:
    if isinstance(value, list):
        values = [_value(name, text) for text in value]
        return values[0] if len(values) == 1 else values or None
    return _PARSERS[name](value) if name in _PARSERS and isinstance(value, str) else value


def _option(given: inspect.Parameter, hint: Any, help_text: str, *, several: bool) -> inspect.Parameter:
    """One keyword of a method as an option: numbers and choices as such, everything else as text."""
    default = given.default
    choices = _choices(hint)
    hint = _number(hint) or hint
    if several:
        kind: Any = list[str]
        default = None
    elif given.name in _PARSERS or not (hint in (int, float, bool) or choices):
        kind = str
        default = ",".join(map(str, default)) if isinstance(default, tuple) else default
    else:
        kind = choices or hint
    flag = "--" + given.name.replace("_", "-")
    option: Any = typer.Option
    annotation: Any = Annotated[kind | None if default is None else kind, option(flag, help=help_text)]
    return parameter(given.name, annotation, default)


def _takes_list(hint: Any) -> bool:
    """Whether a list may be given for it, by giving the option more than once."""
    return any(typing.get_origin(part) in (list, Sequence) for part in typing.get_args(hint))


def _choices(hint: Any) -> Any:
    """The names that an annotation allows, where it is nothing but names (and arrays, not for a command line)."""
    parts = (hint,) if typing.get_origin(hint) is Literal else typing.get_args(hint)
    names = [a for part in parts if typing.get_origin(part) is Literal for a in typing.get_args(part)]
    return Literal[tuple(names)] if names and Any not in parts and float not in parts else None


def _number(hint: Any) -> Any:
    """int or float, where an annotation allows that or None, for what the function finds by itself."""
    parts = set(typing.get_args(hint)) - {type(None)}
    return parts.pop() if parts in ({int}, {float}) else None


def argument_help(method: Callable[..., Any]) -> dict[str, str]:
    """The texts of a Google-style Args section, by parameter, each with a capital letter."""
    section = re.search(r"\nArgs:\n    (.*?)(\n\n\w|\Z)", inspect.getdoc(method) or "", re.DOTALL)
    found: dict[str, str] = {}
    for entry in re.split(r"\n    (?=\w)", section.group(1)) if section else ():
        names, _, text = entry.partition(":")
        line = " ".join(text.split()).replace("[", "\\[")
        for name in names.split(","):
            found[name.strip()] = line[:1].upper() + line[1:]
    return found
