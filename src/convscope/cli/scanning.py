"""The commands that scan what the channels of a network respond to, and show single channels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.table import Table

from ..outputs import check_output
from .chosen_network import Network, with_network
from .console import err, escape, notes, out, print_json, reporting, show_text
from .options import Address, AsJson, Images, RunBy, checked, chosen_images
from .progress_bars import progress_bar, staged_progress

commands = typer.Typer()
_PAIRS = 20  # duplicates in JSON, of each layer
_NAMED = 6  # dead channels or pairs in the table, likewise

ImagesOrUnits: TypeAlias = Annotated[
    list[Path] | None,
    typer.Argument(help="Image files or folders; by default the highest image of each unit.", show_default=False),
]
Channels: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--channel",
        help="Channel of --layer, or LAYER:CHANNEL; give it once for each. Pages of one file link to each other.",
        show_default=False,
    ),
]
UnitLayer: TypeAlias = Annotated[
    str | None,
    typer.Option("--layer", help="Layer of the channels that name none, one of the scan's.", show_default=False),
]


@commands.command(epilog="Example: convscope scan photos/ --layer blocks.4.2 --output scan/")
@reporting
@with_network
def scan(
    model: Network,
    images: Images,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder of the scan; a killed run goes on there, and so does one with more images.",
            show_default=False,
        ),
    ],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Layer; give it once for each. By default one of each resolution."),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Images kept at each end of a channel.")] = 40,
    runner: RunBy = "local",
    address: Address = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """What each channel of some layers responds to: images, labels, dead and duplicate channels."""
    chosen_images(images)  # for the error where one is not there
    options = checked("scan", layers=layer, k=k, runner=runner, address=address)
    from convscope import scan as scan_units

    network = model()
    with progress_bar("scan") as step:
        try:
            found = scan_units(network, chosen_images(images), output=output, progress=step, **options)
        except KeyboardInterrupt:
            err.print(
                f"what was done is in {escape(str(output))}; the same command goes on from there", highlight=False
            )
            raise
    _show(found, str(output), found.layers, as_json)
    notes(found.provenance)


@commands.command(epilog="Example: convscope units scan/ --layer blocks.4.2 --channel 40 --channel 7")
@reporting
@with_network
def units(
    model: Network,
    place: Annotated[Path, typer.Argument(metavar="SCAN", help="A folder written by `scan`.")],
    layer: UnitLayer = None,
    channel: Channels = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The HTML file for channels; replaces an older one. [default: out/units.html]",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Leave out relevance, necessity, feeds and the picture, which take time."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What a scan has found: dead and duplicate channels, the most selective ones; and pages of channels.

    With --channel, a page of each: its images, where it fires, what it tells apart, what is like it, what feeds
    it, and what the network loses without it. Relevance runs all images of the scan again, necessity at most 48 of
    them for each channel. The network is the one that the scan names; --model, and --weights, are needed for code
    and files of your own.
    """
    from convscope import UnitScan

    if not channel and (output is not None or quick):
        raise typer.BadParameter(
            "--output and --quick are for the pages of channels: give --channel, or leave them"
        )
    found, output = UnitScan.load(place), output or Path("out/units.html")
    if channel:
        check_output(output)  # before the long work
    pages = unit_pages(model, found, layer, channel, quick=quick) if channel else []
    _show(found, str(place), found.layers if layer is None else [layer], as_json)
    if not pages:
        return
    from convscope.report.unit_views import write_unit_pages

    written = write_unit_pages(pages, output)
    if not as_json:
        for page in pages:
            show_text(page)
        out.print(f"pages written to {escape(str(written))}", highlight=False, soft_wrap=True)


def pages_of(
    model: Network,
    place: Path | None,
    layer: str | None,
    channels: list[str] | None,
    output: Path,
    *,
    overwrite: bool,
) -> list[Any]:
    """The pages that `report` shows of a scan; none without one."""
    if (place is None) != (not channels):
        raise typer.BadParameter("--units and --channel go together")
    if place is None or not channels:
        return []
    check_output(output, overwrite=overwrite)  # before the long work
    from convscope import UnitScan

    return unit_pages(model, UnitScan.load(place), layer, channels)


def unit_pages(
    model: Network, found: Any, layer: str | None, channels: list[str], *, quick: bool = False
) -> list[Any]:
    """A page for each channel; what those of a layer have in common is computed once."""
    units = [_unit(found, layer, one) for one in channels]
    for name, channel in units:
        found.top(name, channel, 1)  # for its errors, before the network is loaded
    from convscope import unit
    from convscope.units.page_parts import MAKERS, shared_parts

    network, given = model.of(found), dict[str, dict[str, Any]]()
    with staged_progress() as step:
        for name in dict.fromkeys(name for name, _ in units):
            own = [channel for other, channel in units if other == name]
            none = dict.fromkeys(MAKERS, False)
            given[name] = none if quick else shared_parts(network, found, name, own, step)
        return [unit(network, name, one, scan=found, progress=step, **given[name]) for name, one in units]


def _unit(found: Any, layer: str | None, text: str) -> tuple[str, int]:
    """Layer and channel of what is typed for a channel."""
    name, _, number = text.rpartition(":")
    if not re.fullmatch(r"\d{1,9}", number):
        raise typer.BadParameter(f"{text!r}: expected a channel, 12 or blocks.2:12", param_hint="'--channel'")
    if not name and layer is None and len(found.layers) > 1:
        raise typer.BadParameter(f"--channel is of a --layer; the scan has {', '.join(found.layers)}")
    return name or layer or found.layers[0], int(number)


def _show(found: Any, place: str, layers: Any, as_json: bool) -> None:
    """What a scan says of some of its layers."""
    if as_json:
        print_json({"scan": place, "images": len(found), "layers": [_facts(found, name) for name in layers]})
        return
    table = Table("layer", "channels", "dead", "duplicates", "tell a label best (AUROC)")
    for facts in (_facts(found, name) for name in layers):
        pairs = [f"{pair['a']} and {pair['b']}" for pair in facts["duplicates"]]
        best = [f"{one['channel']} for {one['label']} ({one['auroc']:.2f})" for one in facts["selective"][:3]]
        table.add_row(
            escape(facts["layer"]),
            str(facts["channels"]),
            _counted(len(facts["dead"]), [str(channel) for channel in facts["dead"]]),
            _counted(facts["n_duplicates"], pairs),
            "\n".join(map(escape, best)),
        )
    out.print(table)
    out.print(f"{len(found)} images: {escape(place)}", highlight=False, soft_wrap=True)


def _counted(n: int, found: list[str]) -> str:
    """How many channels or pairs, and the first of them."""
    return f"{n}: {', '.join(found[:_NAMED])}{', ...' if n > _NAMED else ''}" if n else "0"


def _facts(found: Any, layer: str) -> dict[str, Any]:
    """What is said of a layer, as JSON holds it."""
    pairs = found.duplicates(layer)
    best = [(label, one) for label in found.labels for one in found.selective(layer, label, k=1)]
    best = [(label, one) for label, one in best if one.auroc > 0.5]  # not NaN either, as of a single label
    best.sort(key=lambda pair: -pair[1].auroc)
    return {
        "layer": layer,
        "channels": found.n_channels(layer),
        "dead": found.dead(layer).tolist(),
        "n_duplicates": len(pairs),
        "duplicates": [pair._asdict() for pair in pairs[:_PAIRS]],
        "selective": [{"label": label, **one._asdict()} for label, one in best],
    }
