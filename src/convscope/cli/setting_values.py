"""What describes a network, in one table; and what becomes of a value, typed as text or from a TOML file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..checks import SIDES, as_count, as_number, shown
from ..errors import ModelError, ParameterError
from ..user_code import place_of
from .networks import DEFAULT_MODEL, HUGGING_FACE, SUFFIXES


class Given(NamedTuple):
    """A value as it was given; ``where``: "--mean" or "convscope.toml: mean"; its paths start from ``folder``."""

    value: Any
    where: str
    folder: Path

    def unfit(self, expected: str) -> ParameterError:
        sign = "" if self.where.startswith("--") else " ="
        value = self.value if isinstance(self.value, str) and not sign else shown(self.value)
        return ParameterError(f"{self.where}{sign} {value}: expected {expected}")

    def path(self, text: str | Path) -> Path:
        """A path as seen from the current folder."""
        path = Path(text).expanduser()
        return path if self.folder == Path.cwd() else self.folder / path


def text(given: Given) -> str:
    """A text that is not empty."""
    if not isinstance(given.value, str) or not given.value or "\0" in given.value:
        raise given.unfit("a text")
    return given.value


def source(given: Given) -> str:
    """The name of a network; where it is a file or a folder, or code in one, with the path to it."""
    name = text(given)
    place = place_of(name)
    if place is not None and place.file is not None:
        return f"{given.path(place.file)}:{place.name}"
    if name.startswith(HUGGING_FACE):
        return f"{HUGGING_FACE}{given.path(name.removeprefix(HUGGING_FACE))}"
    path = given.path(name)
    return str(path) if os.path.isfile(path) or name.endswith(SUFFIXES) else name


def file(given: Given) -> Path:
    """A file that is there."""
    if not isinstance(given.value, str | Path) or "\0" in str(given.value):
        raise given.unfit("a file")
    path = given.path(given.value)
    if not os.path.isfile(path):  # unlike Path.is_file, no error for a name that is too long
        raise ModelError(f"{path}: no such file" + ("" if given.where.startswith("--") else f" ({given.where})"))
    return path


def size(given: Given) -> int | tuple[int, ...]:
    """Sides from 224, "64,48", "64x48" or [64, 48], one to three of them; one number, which is all, as it is."""
    value = given.value
    parts = value.replace("x", ",").split(",") if isinstance(value, str) else value
    sides = parts if isinstance(parts, list) else [parts]
    try:
        numbers = tuple(as_count(int(side) if isinstance(side, str) else side, "input_size") for side in sides)
    except (TypeError, ValueError, ParameterError):
        numbers = ()
    if len(numbers) not in SIDES:
        forms = ("64,48", "16,64,48") if isinstance(value, str) else ("[64, 48]", "[16, 64, 48]")
        raise given.unfit(f"sides of the network's input, 224, {forms[0]} (height, width) or {forms[1]}")
    return numbers[0] if len(numbers) == 1 else numbers


def numbers(given: Given) -> tuple[float, ...]:
    """A number for each channel, from "0.5,0.5,0.5", 0.5 or [0.5, 0.5, 0.5]."""
    value = given.value
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    try:
        found = tuple(as_number(float(part) if isinstance(part, str) else part, "value") for part in parts)
    except (ValueError, ParameterError):
        found = ()
    if not found:
        form = "0.485,0.456,0.406" if isinstance(value, str) else "[0.485, 0.456, 0.406]"
        raise given.unfit(f"a number for each channel, such as {form}")
    return found


def labels(given: Given) -> tuple[str, ...]:
    """Names of classes: a list, or a file with one on each line."""
    if isinstance(given.value, list):
        if not given.value or not all(isinstance(label, str) for label in given.value):
            raise given.unfit("names of classes, or a file with one on each line")
        return tuple(given.value)
    path = file(given)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path}: cannot be read as text in UTF-8 ({error})") from None
    if "" in lines:
        where = f"line {lines.index('') + 1}" if len(lines) > 1 else "it"
        raise ParameterError(f"{path}: {where} is empty; expected the name of a class on each line")
    return tuple(lines)


def flag(given: Given) -> bool:
    """True or false."""
    if not isinstance(given.value, bool):
        raise given.unfit("true or false")
    return given.value


class Key(NamedTuple):
    """One thing that describes a network: how it is typed, and what reads it."""

    flag: str
    kind: type  # of what is typed
    read: Callable[[Given], Any]
    help: str
    short: str | None = None


# By the key in the file, which is also the argument of `load_model`, but for the first and ``random_weights``.
KEYS = {
    "source": Key(
        "--model", str, source,
        f"{DEFAULT_MODEL} (the default), torchvision:NAME, timm:NAME, hf:FOLDER, a file, or your own code, which "
        "then runs: my_package.my_module:build or path/to/file.py:build.",
        "-m",
    ),
    "weights": Key(
        "--weights", Path, file, "File with your own weights (a state dict): .pt, .pth or .safetensors."
    ),
    "random_weights": Key("--random-weights", bool, flag, "Do not load the published weights."),
    "input_size": Key(
        "--input-size", str, size, "Size of its input: 224, 64,48 (height, width), or 16,64,48 of a volume."
    ),
    "mean": Key("--mean", str, numbers, "Mean of each channel, for pixels from 0 to 1: 0.485,0.456,0.406."),
    "std": Key("--std", str, numbers, "Standard deviation of each channel, likewise: 0.229,0.224,0.225."),
    "labels": Key("--labels", Path, labels, "Text file with one class name per line."),
    "multilabel": Key(
        "--multilabel", bool, flag, "An image may show several classes, each with a probability of its own."
    ),
    "regression": Key(
        "--regression", bool, flag, "What it returns are values, such as an age, named by the labels; not classes."
    ),
    "output": Key("--model-output", str, text, "Where the class scores are in what it returns, such as logits."),
    "device": Key("--device", str, text, "cuda, mps or cpu; by default the first that is available."),
    "trust_pickle": Key(
        "--trust-pickle", bool, flag,
        "Open a file that can run any code: a pickled network, or TorchScript or a torch.export program that does "
        "more than compute.",
    ),
}  # fmt: skip
