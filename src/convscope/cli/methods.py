"""Commands made from the library's functions: options from the signature, help from the docstring.

Both are read from the source, so that help comes, and a mistyped option is answered, before torch is imported.
"""

from __future__ import annotations

import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .. import declared
from ..registry import declared_methods
from .chosen_network import Network, with_network
from .console import free_output, reporting, save, saving_partial, show
from .options import (
    AsJson,
    Film,
    Images,
    Output,
    checked,
    chosen_images,
    chosen_target,
    free_film,
    parameter,
    set_parameters,
)
from .phrasing import for_terminal, help_text, in_commands
from .progress_bars import progress_bar

ATTRIBUTIONS = declared_methods()
# Beside these, the functions (model, what it looks at, *, options) -> result.
LOOKS = (
    "filters", "feature_maps", "visualize", "accentuate", "invert", "deep_dream", "concepts", "concept_vector"
)  # fmt: skip
_ONLY_IN_PYTHON = ("model", "progress", "watch", "recipe", "dictionary", "encoder")
FILM_FRAMES = 24  # of a film whose --n-frames is not said


def command_name(function: str) -> str:
    """grad_cam is typed grad-cam."""
    return function.replace("_", "-")


def build(function: str) -> Callable[..., None]:
    """The command for a function of the library, with the signature that the command line reads."""
    about = declared.function(function)
    command, help_of = command_name(function), argument_help(about.doc)
    takes = {name: p for name, p in about.parameters.items() if name not in _ONLY_IN_PYTHON}
    looked_at = [names for names in _LOOKED_AT if takes.keys() >= set(names)]
    arguments = looked_at[0] if looked_at else ()
    options = [
        _option(
            p,
            help_text(name, help_of.get(name, "")),
            several=("images" in arguments or name == "layers") and _is_list(p.annotation),
        )
        for name, p in takes.items()
        if name not in arguments
    ]
    counted = re.search(r"\((\w+) done", help_of.get("progress", ""))

    def run(model: Network, output: Any, as_json: bool, **given: Any) -> None:
        asked: dict[str, Any] = {name: _seen(given[name]) for name in arguments if name != "target"}
        place = free_output(output, command)
        if film := given.pop("film", None):
            free_film(film)
            given["n_frames"] = given["n_frames"] or FILM_FRAMES
        chosen = {p.name: _value(p.name, given[p.name]) for p in options if given[p.name] is not None}
        asked |= checked(function, **{name: value for name, value in chosen.items() if name != "target"})
        if "target" in given:
            asked["target"] = _value("target", given["target"])
        import convscope

        method, network = getattr(convscope, function), model()
        if "progress" not in about.parameters:
            result = method(network, **asked)
        else:
            with saving_partial(place, as_json), progress_bar(command, counted[1] if counted else "") as step:
                result = method(network, progress=step, **asked)
        if film:
            result.save_film(film)
        show(result, save(result, place), as_json)

    films = [parameter("film", Film, None)] if "n_frames" in takes else []
    shared = [parameter("output", Output, None), parameter("as_json", AsJson, False)]
    set_parameters(run, [*(_ARGUMENTS[name] for name in arguments), *options, *films, *shared])
    run.__doc__ = description(about.doc, {p.name: "--" + command_name(p.name) for p in options})
    return reporting(with_network(run))


def _seen(paths: Path | list[Path]) -> Any:
    """The images that a command is given."""
    return chosen_images(paths if isinstance(paths, list) else [paths])


_LOOKED_AT = (("positives", "negatives"), ("images",), ("image",), ("target",))  # the first that a function takes
_ARGUMENTS: dict[str, inspect.Parameter] = {
    **{
        name: parameter(
            name,
            Annotated[Path, typer.Argument(help=f"A folder or a file of images {what}.", show_default=False)],
            inspect.Parameter.empty,
        )
        for name, what in (("positives", "with the concept"), ("negatives", "without it, else alike"))
    },
    "images": parameter("images", Images, inspect.Parameter.empty),
    "image": parameter(
        "image",
        Annotated[Path, typer.Argument(help="One image file.", show_default=False)],
        inspect.Parameter.empty,
    ),
    "target": parameter(
        "target",
        Annotated[
            str | None,
            typer.Argument(help="Class index or label; with --layer a channel, CHANNEL,ROW,COLUMN, or nothing."),
        ],
        None,
    ),
}


def description(doc: str, flags: Mapping[str, str]) -> str:
    """A docstring up to its Args, each paragraph on one line for the terminal to wrap; formulas as they are."""
    paragraphs = doc.split("\n\nArgs:")[0].split("\n\n")
    return "\n\n".join(
        "\b\n" + text if text.startswith("    ") else for_terminal(in_commands(" ".join(text.split())), flags)
        for text in paragraphs
    )


def example(function: str) -> str:
    """A line to copy, at the end of the help."""
    sample = {
        "filters": "",
        "visualize": " espresso",
        "accentuate": " photo.jpg --target tiger",
        "concepts": " photos/ --label cat --layer bn2",
        "concept_vector": " striped/ plain/ --layer blocks.4 --images zebras/ --target zebra",
    }.get(function, " photo.jpg")
    command = command_name(function)
    return f"Example: convscope {command}{sample} --output out/{command}"


def argument_help(doc: str) -> dict[str, str]:
    """The texts of a Google-style Args section, by parameter, each on one line."""
    section = re.search(r"\nArgs:\n(.*?)(\n\n\w|\Z)", doc, re.DOTALL)
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\w)", textwrap.dedent(section[1])) if section else ():
        names, _, text = entry.partition(":")
        found |= {name.strip(): " ".join(text.split()) for name in names.split(",")}
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


def _conditions(text: str) -> dict[str, list[int]]:
    """Layers with their channels: "layer3=0,7" or "layer3=0,7;layer4=12"."""
    found = {}
    for part in text.split(";"):
        name, _, channels = part.rpartition("=")
        if not name or not re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", channels):
            raise typer.BadParameter(f"{text!r}: expected LAYER=CHANNEL,CHANNEL;LAYER=CHANNEL")
        found[name.strip()] = [int(channel) for channel in channels.split(",")]
    return found


# One meaning for one name, everywhere in the library: what the text of an option becomes.
_PARSERS: dict[str, Callable[[str], Any]] = {
    "target": chosen_target,
    "images": lambda text: chosen_images([Path(text)]),
    "window": _pair,
    "windows": _window,
    "stride": _pair,
    "superpixel": _pair,
    "size_px": _pair,
    "baseline": number_or_text,
    "conditions": _conditions,
}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, list):
        values = [_value(name, text) for text in value]
        return values[0] if len(values) == 1 else values or None
    if name not in _PARSERS or not isinstance(value, str):
        return value
    try:
        return _PARSERS[name](value)
    except typer.BadParameter as error:
        error.param_hint = f"'--{command_name(name)}'"
        raise


def _option(given: inspect.Parameter, text: str, *, several: bool) -> inspect.Parameter:
    """One keyword of a method as an option: numbers and choices as such, everything else as text."""
    hint, default = given.annotation, given.default
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
    option: Any = typer.Option
    flag = "--" + command_name(given.name)
    annotation: Any = Annotated[kind | None if default is None else kind, option(flag, help=text)]
    return parameter(given.name, annotation, default)


def _is_list(hint: Any) -> bool:
    """Whether a list may be given for it, by giving the option more than once."""
    return any(typing.get_origin(part) in (list, Sequence) for part in typing.get_args(hint))


def _choices(hint: Any) -> Any:
    """The names that an annotation allows, where it is nothing but names (and objects, not for a command line)."""
    parts = (hint,) if typing.get_origin(hint) is Literal else typing.get_args(hint)
    names = [a for part in parts if typing.get_origin(part) is Literal for a in typing.get_args(part)]
    return Literal[tuple(names)] if names and Any not in parts and float not in parts else None


def _number(hint: Any) -> Any:
    """int or float, where an annotation allows that or None, for what the function finds by itself."""
    parts = set(typing.get_args(hint)) - {type(None)}
    return parts.pop() if parts in ({int}, {float}) else None
