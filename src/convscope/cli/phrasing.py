"""The library's sentences as a terminal says them: options with dashes, and nothing that only Python can give."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from typer.models import ArgumentInfo, OptionInfo

_SIDES = "32, or 32,16 for height and width"
# Options whose docstrings offer what only Python can give. One name means the same in every command.
HELP = {
    "target": 'Class index or label, "A rather than B" for the difference of two classes, "A at '
    'LEFT,TOP,RIGHT,BOTTOM" for a box of a detector, or "A at ROW,COLUMN" for a region of a segmentation; by '
    "default the class that the network predicts. Give it once for all images, or once for each.",
    "baseline": 'What stands for "nothing to see": mean, blur, noise, black, white, an image file, or a number '
    "from 0 (black) to 1 (white).",
    "shape": "What hides a part of the image: a rectangle, an ellipse inscribed in the window, or superpixels "
    "about as large as the window.",
    "window": f"Pixels of the network's input: {_SIDES}; by default 32, or a quarter of the input's side where "
    "that is less.",
    "windows": f"Size in pixels of the network's input: {_SIDES}; give it once for each. By default auto, which "
    "tries five sizes.",
    "stride": f"Pixels from one window to the next: {_SIDES}; by default half of the window.",
    "superpixel": f"About how large a superpixel is: {_SIDES}; by default 32, or a quarter of the input's side "
    "where that is less.",
    "size_px": f"Side of the picture: {_SIDES}; by default that of the network's input.",
    "n_concepts": "How many concepts.",
    "preset": "What kind of picture: natural, maco, crisp or plain (the formula alone, from the zero image).",
    "judge": "Another network, by its name, that is asked what it takes the picture for.",
    "start": "What the ascent starts from: zero, noise, or an image file.",
}
# What the library has other words for than an option of the same name.
_SPOKEN = {
    "pretrained=False": "--random-weights",
    "Model(network, output='logits')": "--model-output logits",
    "give a Detection as target (`detections` lists": 'give --target "CLASS at LEFT,TOP,RIGHT,BOTTOM" (`convscope '
    "detections` lists",
    "give Region(class) or Region.at((row, column)) as target": 'give --target "CLASS at ROW,COLUMN"',
    "give a callable that computes N scores from it, or Model(network, output=CALLABLE) for class scores": "have "
    "your own code return convscope.Model(network, output=CALLABLE), with a function to class scores",
    ", or give a callable as target": "",
    " to load_model or Model, or pass a preprocessed tensor (N, C, H, W)": ", or a .npy file with a preprocessed "
    "tensor (N, C, H, W)",
    "pass a preprocessed tensor": "give a .npy file with a preprocessed tensor",
    "input_size=(H, W), mean=[...] and std=[...]": "--input-size, --mean and --std",
    ", or prune(confirmed=True)": "",  # beside --yes
    "summary.text(every=True)": "--all",
    "model.layers() lists all": "`convscope layers` lists all",
    "`convscope index` or convscope.index": "`convscope index`",
    ", a callable, or a layer": ", or a layer",
    ", or None": "",  # what None stands for is said by leaving the option out
}

_CALL = re.compile(r"(\b[A-Za-z_][\w.]*\((?:[^()]|\([^()]*\))*\))")  # of Python, which stays as it is


def help_text(name: str, docstring: str) -> str:
    """The help of an option: its line in the docstring as a sentence, unless `HELP` has a better one."""
    text = HELP.get(name, docstring)
    if text.startswith("of "):  # the name is the subject
        text = f"{name.replace('_', ' ')} {text}"
    return (text[:1].upper() + in_commands(text[1:])).replace("[", "\\[")


def in_commands(text: str) -> str:
    """A docstring's names of functions and parameters as those of commands and options."""
    text = re.sub("``([a-z0-9_]+)``", lambda found: f"--{found[1].replace('_', '-')}", text)
    return re.sub(r"`(?:convscope\.|Model\.)?([a-z_]+)`", lambda found: f"`{found[1].replace('_', '-')}`", text)


def unwrapped(docstring: str) -> str:
    """A docstring with each paragraph on one line, for the terminal to wrap; formulas, after \\b, as they are."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(text if text.startswith("\b") else " ".join(text.split()) for text in paragraphs)


def flags_of(command: Callable[..., Any]) -> dict[str, str]:
    """How each parameter of a command is typed, also under the plural that the library has for several."""
    flags: dict[str, str] = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        for about in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(about, OptionInfo):
                # In Annotated the first name stands where the default would.
                written = map(str, (about.default, *(about.param_decls or ())))
                long = (text for text in written if text.startswith("--"))
                flags[name] = flags[f"{name}s"] = next(long, "--" + name.replace("_", "-"))
            elif isinstance(about, ArgumentInfo):
                flags[name] = name.upper()
    return flags


def for_terminal(message: str, flags: Mapping[str, str]) -> str:
    """A message of the library with options in place of arguments: ``n_steps=0`` is "--n-steps 0".

    Args:
        message: what the library says.
        flags: see `flags_of`.
    """
    for python, spoken in _SPOKEN.items():
        message = message.replace(python, spoken)
    message = re.sub(r"\bload_model\(([^()]*)\)", _as_network, message)
    message = re.sub(r"(?<![\w.])(\w+)\(store(?:, ([^()]*))?\)", _as_command, message)
    return "".join(part if at % 2 else _in_options(part, flags) for at, part in enumerate(_CALL.split(message)))


def _in_options(message: str, flags: Mapping[str, str]) -> str:
    """Text without calls of Python, with options in place of arguments."""
    names = "|".join(sorted(map(re.escape, flags), key=len, reverse=True)) or "(?!)"
    message = re.sub(f"`({names})`", lambda found: flags[found[1]], message)
    given = r"=(?P<value>'[^']*'|[^\s,;:)`]*)"
    argument = rf"(?<![\w./-])(?P<name>{names})(?:{given}|(?![\w./=-]))"

    def as_option(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if value is None:  # the name alone, which may be a word like any other
            return flags[name] if "_" in name else found[0]
        return f"{flags[name]} {_as_typed(value)}".strip()

    return re.sub(argument, as_option, message)


def _as_typed(value: str) -> str:
    """A value of Python's as a shell takes it; nothing for True, which the option alone says."""
    return "" if value == "True" else shlex.quote(value[1:-1]) if value[:1] == "'" else value


def _as_command(call: re.Match[str]) -> str:
    """A question to a store as the command that asks it."""
    options = [part.partition("=") for part in (call[2] or "").split(", ") if "=" in part]
    words = [f"--{name.replace('_', '-')} {_as_typed(value)}".strip() for name, _, value in options]
    return " ".join(["convscope", call[1].replace("_", "-"), "STORE", *words])


def _as_network(call: re.Match[str]) -> str:
    """`load_model` as the options that describe the network: the name, and arguments that are replaced later."""
    name, *options = call[1].split(", ")
    return " ".join([f"--model {name.replace(chr(39), '')}", *options])
