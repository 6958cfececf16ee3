"""The command that makes a picture for every channel of a layer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from ..checks import PresetName
from .chosen_network import Network, with_network
from .console import err, escape, notes, print_json, reporting, show_place, show_text, summary
from .options import AsJson, Seed, checked
from .progress_bars import progress_bar

commands = typer.Typer()


@commands.command(epilog="Example: convscope atlas blocks.2.2 --channels 0-31 --output atlas/")
@reporting
@with_network
def atlas(
    model: Network,
    layer: Annotated[str, typer.Argument(help="Name of the layer; `layers` lists them.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder of the atlas; a killed run goes on there.", show_default=False
        ),
    ],
    channels: Annotated[
        str | None, typer.Option(help="Channels, such as 0-31 or 3,7,12-15; by default all.")
    ] = None,
    n_batch: Annotated[int, typer.Option("--n-batch", min=1, help="Channels made at the same time.")] = 8,
    preset: Annotated[PresetName, typer.Option(help="What kind of picture.")] = "natural",
    size_px: Annotated[int | None, typer.Option("--size-px", min=1, help="Side of a picture.")] = None,
    n_steps: Annotated[int | None, typer.Option("--n-steps", min=1, help="By default the preset's.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """A picture for every channel of a layer, on one sheet; see `visualize` for one of them."""
    options: dict[str, Any] = checked(
        "atlas", n_batch=n_batch, preset=preset, size_px=size_px, n_steps=n_steps, seed=seed
    )
    chosen = None if channels is None else _numbers(channels)
    from convscope import atlas as make_atlas

    network = model()
    with progress_bar("atlas", "channels") as step:
        try:
            found = make_atlas(network, layer, channels=chosen, output=output, progress=step, **options)
        except KeyboardInterrupt:
            place = escape(str(output))
            err.print(f"what was done is in {place}; the same command goes on from there", highlight=False)
            raise
    if as_json:
        print_json({**summary(found), "output": str(output)})
        return
    show_text(found)
    show_place(output)
    notes(found.provenance)


def _numbers(text: str) -> list[int]:
    """Numbers and ranges: "3,7,12-15"."""
    if not re.fullmatch(r"\d{1,7}(-\d{1,7})?(,\d{1,7}(-\d{1,7})?)*", text):
        raise typer.BadParameter(f"{text!r}: expected 0-31 or 3,7,12-15", param_hint="'--channels'")
    ends = [part.split("-") for part in text.split(",")]
    return [number for part in ends for number in range(int(part[0]), int(part[-1]) + 1)]
