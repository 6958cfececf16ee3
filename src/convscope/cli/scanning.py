"""The command that scans what the channels of a network respond to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from .chosen_network import Network, with_network
from .console import err, escape, notes, out, print_json, progress_bar, reporting
from .options import AsJson, Images, checked, chosen_images

commands = typer.Typer()
_PAIRS = 20  # duplicates in JSON, of each layer


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
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """What each channel of some layers responds to: images, labels, dead and duplicate channels."""
    chosen_images(images)  # for the error where one is not there
    options = checked("scan", layers=layer, k=k)
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
    if as_json:
        print_json(
            {"scan": str(output), "images": len(found), "layers": [_facts(found, name) for name in found.layers]}
        )
        return
    table = Table("layer", "channels", "dead", "duplicates", "most selective")
    for facts in (_facts(found, name) for name in found.layers):
        best = ", ".join(f"{one['channel']} {one['label']}" for one in facts["selective"][:3])
        table.add_row(
            escape(facts["layer"]),
            str(facts["channels"]),
            str(len(facts["dead"])),
            str(facts["n_duplicates"]),
            escape(best),
        )
    out.print(table)
    out.print(f"{len(found)} images: {escape(str(output))}", highlight=False, soft_wrap=True)
    notes(found.provenance)


def _facts(found: Any, layer: str) -> dict[str, Any]:
    """What is said of a layer, as JSON holds it."""
    pairs = found.duplicates(layer)
    best = [(label, one) for label in found.labels for one in found.selective(layer, label, k=1)]
    best.sort(key=lambda pair: -pair[1].auroc)
    return {
        "layer": layer,
        "channels": found.n_channels(layer),
        "dead": found.dead(layer).tolist(),
        "n_duplicates": len(pairs),
        "duplicates": [pair._asdict() for pair in pairs[:_PAIRS]],
        "selective": [{"label": label, **one._asdict()} for label, one in best],
    }
