"""Options that several commands share."""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from ..checks import HIGHER_IS_NEARER, Metric, which_is_nearer
from ..errors import ModelError
from ..outputs import check_no_input

# Of convscope.models, where reading them would import torch.
DEFAULT_MODEL = "efficientnet-lite0"
PACKAGED = tuple(f"efficientnet-lite{n}" for n in range(3))

Engine: TypeAlias = Annotated[
    Literal["local", "ray"], typer.Option(help="ray: by the workers of a Ray cluster, which can open the store.")
]
Address: TypeAlias = Annotated[
    str | None, typer.Option(help="Of the Ray cluster; by default Ray runs on this machine.")
]
_METRICS = ", ".join(f"{metric} ({which_is_nearer(metric)})" for metric in HIGHER_IS_NEARER)
WhatIsNear: TypeAlias = Annotated[Metric, typer.Option(help=f"What near means: {_METRICS}.")]
ModelName = Annotated[
    str,
    typer.Option(
        "--model", "-m", help=f"{DEFAULT_MODEL}, torchvision:NAME, timm:NAME.", rich_help_panel="Network"
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="State dict of your own: .pt, .pth, .safetensors.", rich_help_panel="Network"),
]
Random = Annotated[
    bool,
    typer.Option("--random-weights", help="Do not load the published weights.", rich_help_panel="Network"),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cuda, mps or cpu; by default the first there is.", rich_help_panel="Network"),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="New folder for the result; by default out/COMMAND, then out/COMMAND-2, ...",
        show_default=False,
    ),
]
Network: TypeAlias = Callable[[], Any]  # loads it the first time
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Images = Annotated[list[Path], typer.Argument(help="Image files or folders.", show_default=False)]


_NETWORK: dict[str, tuple[Any, Any]] = {
    "model_name": (ModelName, DEFAULT_MODEL),
    "weights": (Weights, None),
    "random": (Random, False),
    "device": (Device, None),
}


def with_network(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that name a network, in place of its parameter ``model``.

    The command gets a function that loads the network the first time that it is called.
    """

    @functools.wraps(command)
    def run(**given: Any) -> None:
        name, weights, random, device = (given.pop(option) for option in _NETWORK)
        check_model_name(name)
        if given.get("output") is not None:
            check_no_input(given["output"], [name, *([weights] if weights else [])])

        @functools.cache
        def model() -> Any:
            from convscope.models import load_model

            return load_model(name, weights=weights, pretrained=not random, device=device)

        command(model=model, **given)

    own = inspect.signature(command, eval_str=True).parameters
    options = [parameter(name, kind, default) for name, (kind, default) in _NETWORK.items()]
    set_parameters(run, [*(p for p in own.values() if p.name != "model"), *options])
    return run


def check_model_name(name: str) -> None:
    """`ModelError` for what can be no network's name, before torch is imported; the rest `load_model` finds."""
    is_library = name.startswith(("torchvision:", "timm:"))
    is_file = name.endswith((".pt", ".pth", ".safetensors")) or os.path.isfile(name)
    if name in PACKAGED or is_library or is_file:
        return
    near = difflib.get_close_matches(name, PACKAGED, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ModelError(
        f"no network {name!r}{hint}: give {DEFAULT_MODEL!r}, 'torchvision:{name}' or 'timm:{name}' where they "
        "have it, or a file"
    )


def parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """A parameter of a command, as typer reads it."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def set_parameters(command: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> None:
    """Say what options a command has that takes any."""
    keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    command.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in keywords}


def chosen_images(paths: list[Path], at_least: int | None = None) -> Any:
    """One path as it is; several as one set, in which an unreadable file is skipped and listed."""
    from convscope.images import load_images

    if len(paths) == 1:
        return load_images(paths[0], at_least=at_least)
    return load_images(paths, on_error="skip", at_least=at_least)


def chosen_target(text: str | None) -> Any:
    """A class index, (channel, row, column), a label, or "A rather than B"; None for the predicted class."""
    if text is not None and len(names := re.split(r"\s+rather than\s+", text, flags=re.IGNORECASE)) == 2:
        from convscope.targets import Contrast

        target, against = (int(name) if name.isdigit() else name for name in map(str.strip, names))
        return Contrast(target, against)
    if text is None or not re.fullmatch(r"\d+(,\d+,\d+)?", text):
        return text
    numbers = tuple(int(part) for part in text.split(","))
    return numbers[0] if len(numbers) == 1 else numbers
