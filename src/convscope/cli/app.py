"""The commands, in the order and under the headings in which help lists them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..texts import printable
from . import (
    atlas_command,
    cleaning,
    compare_stores_command,
    embedding,
    explore,
    row_commands,
    scanning,
    stores,
    trust,
)
from .chosen_network import Network, with_network
from .console import escape, notes, out, print_json, reporting, table
from .inspecting import as_data, print_origins, print_summary
from .methods import ATTRIBUTIONS, LOOKS, build, command_name, example
from .options import AsJson, Images, checked, chosen_images
from .progress_bars import progress_bar
from .ranking_text import table_of
from .report_command import report as write_report

_UsageError: Any = typer.BadParameter.__mro__[1]  # click's, in whichever package typer has it


@contextmanager
def _printable_errors() -> Iterator[None]:
    """An error of usage repeats what was typed, which a pattern of the shell may have made of names of files."""
    try:
        yield
    except _UsageError as error:
        error.message = printable(error.message)
        raise


class _Commands(TyperGroup):
    """A group whose errors of usage can be printed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _printable_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _printable_errors():
            return super().invoke(ctx)


START, LOOK, PIXELS = "Start here", "Look at a network", "Which pixels matter"
TRUST, COLLECTIONS = "How far to trust a map", "Collections of images"

app = typer.Typer(
    name="convscope",
    cls=_Commands,
    help="Look inside a convolutional neural network.",
    epilog="Example: convscope report photo.jpg --output out/report.html",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"convscope {version('convscope')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


app.command(
    rich_help_panel=START,
    epilog="Example: convscope report cat.jpg cup.jpg --collection photos/ --output out/report.html",
)(write_report)


@app.command(rich_help_panel=START, epilog="Example: convscope predict photos/ --top 3 --json")
@reporting
@with_network
def predict(
    model: Network,
    images: Images,
    top: Annotated[int, typer.Option(min=1, help="Classes, or values, to show for each image.")] = 5,
    as_json: AsJson = False,
) -> None:
    """The highest classes of each image, with probability and score; or its values."""
    looked_at = chosen_images(images)
    network = model()
    with progress_bar("predict") as step:
        prediction = network.predict(looked_at, progress=step)
    ranked = prediction.top(top)
    if as_json:
        print_json(
            {name: [r._asdict() for r in rows] for name, rows in zip(prediction.names, ranked, strict=True)}
        )
    for name, rows in zip(prediction.names, ranked, strict=True):
        if not as_json:
            out.print(table_of(name, rows, are_values=prediction.are_values))
    notes(prediction.provenance)


@app.command(rich_help_panel=START, epilog="Example: convscope detections street.jpg --min-score 0.3")
@reporting
@with_network
def detections(
    model: Network,
    image: Annotated[Path, typer.Argument(help="One image file.", show_default=False)],
    read: Annotated[
        str | None, typer.Option(help="How to read what the detector returns: yolov8, detr, retinanet, ...")
    ] = None,
    min_score: Annotated[float, typer.Option(help="The least probability of a detection.")] = 0.5,
    limit: Annotated[int, typer.Option(help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The objects that a detector finds in an image, with the class and box to give as a target."""
    looked_at = chosen_images([image])
    options = checked("detections", min_score=min_score, limit=limit)
    from convscope import detections as found_in

    found = found_in(model(), looked_at, read=read, **options)
    if as_json:
        print_json([{"class": one.target, "box": one.box, "probability": one.score} for one in found])
        return
    rows = [(f"{one.score:.1%}", str(one.target), ",".join(f"{side:.0f}" for side in one.box)) for one in found]
    out.print(table(str(image), ("probability", "class", "box (left,top,right,bottom)"), rows))
    if found:
        example = ["convscope", "rise", str(image), "--target", f"{rows[0][1]} at {rows[0][2]}"]
        out.print(f"explain one: {escape(shlex.join(example))}", highlight=False, soft_wrap=True)


@app.command(rich_help_panel=START, epilog="Example: convscope samples out/samples")
@reporting
def samples(
    directory: Annotated[Path, typer.Argument(help="New folder to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the random crops.")] = 0,
) -> None:
    """Real photos, and a labeled folder of crops of them, to try things on."""
    from convscope.samples import write_samples

    with progress_bar("samples") as step:
        written = write_samples(directory, seed=seed, progress=step)
    out.print(f"photos in {escape(str(written / 'photos'))}, labeled crops in {escape(str(written / 'crops'))}")


@app.command(rich_help_panel=LOOK, epilog="Example: convscope layers --model torchvision:resnet50")
@reporting
@with_network
def layers(
    model: Network,
    as_json: AsJson = False,
) -> None:
    """The layers of a network, in the order in which they run."""
    structure = model().structure()
    if as_json:
        print_json([vars(layer) for layer in structure.layers])
        return
    rows = [
        (
            layer.name,
            layer.kind,
            " x ".join(map(str, layer.shape)),
            "whole image" if layer.receptive_field is None else " x ".join(map(str, layer.receptive_field)),
        )
        for layer in structure.layers
    ]
    out.print(table(model().name, ("layer", "kind", "shape", "receptive field"), rows))
    for what, found in (("last spatial layer", structure.last_spatial), ("feature vector", structure.features)):
        out.print(f"{what}: {escape(found.name) if found else 'none'}", highlight=False)


@app.command(rich_help_panel=LOOK, epilog="Example: convscope inspect my_package.my_module:build --input-size 64")
@reporting
@with_network
def inspect(
    model: Network,
    network: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="The network, as for --model.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All layers, also of a long network.")] = False,
    as_json: AsJson = False,
) -> None:
    """The layers of a network, what was detected about it, and which methods fit it, or why they do not.

    Layers with outputs, parameters, multiply-adds (MACs) and receptive fields; inputs and outputs; the layers that
    methods take by default. Methods are tried on noise, which takes about 30 passes of the network.
    """
    with progress_bar("inspect", "methods") as step:
        found = model().summary(progress=step)
    if as_json:
        print_json(as_data(found, model.settings))
        return
    print_origins(model.settings)
    print_summary(found, every=every)
    notes(found.provenance)


for functions, panel in ((LOOKS, LOOK), (ATTRIBUTIONS, PIXELS)):
    for function in functions:
        app.command(command_name(function), rich_help_panel=panel, epilog=example(function))(build(function))

for group, panel in (
    (trust, TRUST),
    (atlas_command, LOOK),
    (scanning, COLLECTIONS),
    (embedding, COLLECTIONS),
    (explore, COLLECTIONS),
    (cleaning, COLLECTIONS),
    (stores, COLLECTIONS),
    (compare_stores_command, COLLECTIONS),
    (row_commands, COLLECTIONS),
):
    for command in group.commands.registered_commands:
        command.rich_help_panel = panel
    app.add_typer(group.commands)


def main() -> None:
    """The command line as a process: what its terminal or pipe cannot write is written out, and ends no run."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app()
