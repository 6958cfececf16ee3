"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

DEFAULT_MODEL = "efficientnet-lite0"  # of convscope.models, where reading it would import torch

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
    typer.Option("--output", "-o", help="New folder for the result; by default out/COMMAND.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Images = Annotated[list[Path], typer.Argument(help="Image files or folders.", show_default=False)]


def chosen_model(model_name: str, weights: Path | None, random: bool, device: str | None) -> Any:
    """The network that the shared options name."""
    from convscope.models import load_model

    return load_model(model_name, weights=weights, pretrained=not random, device=device)


def chosen_images(paths: list[Path]) -> Any:
    """One path as it is; several as one set, in which an unreadable file is skipped and listed."""
    from convscope.images import load_images

    return load_images(paths[0]) if len(paths) == 1 else load_images(paths, on_error="skip")


def chosen_target(text: str | None) -> Any:
    """A class index, (channel, row, column), or a label; None for the predicted class."""
    if text is None or not re.fullmatch(r"\d+(,\d+,\d+)?", text):
        return text
    numbers = tuple(int(part) for part in text.split(","))
    return numbers[0] if len(numbers) == 1 else numbers
