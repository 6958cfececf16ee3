"""`convscope report`: everything about a few images, a collection and channels, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..registry import method_keys
from . import scanning
from .chosen_network import Network, with_network
from .console import escape, notes, out, reporting
from .options import Target, check_collection, chosen_images, chosen_target
from .progress_bars import staged_progress
from .ranking_text import in_words


@reporting
@with_network
def report(
    model: Network,
    images: scanning.ImagesOrUnits = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The HTML file; replaces an older report.")
    ] = Path("out/report.html"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace even a file that convscope did not write.")
    ] = False,
    collection: Annotated[
        str | None,
        typer.Option(
            help="For errors, suspects, neighbors and a map: a store, a folder written by `embed`, or a folder of "
            "images (first-level folders are labels)."
        ),
    ] = None,
    target: Target = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Method to show, or all; give it once for each. By default four.")
    ] = None,
    units: Annotated[
        Path | None, typer.Option(help="A folder written by `scan`, to show --channel of --layer.")
    ] = None,
    layer: scanning.UnitLayer = None,
    channel: scanning.Channels = None,
    n_images: Annotated[int, typer.Option("--n-images", min=1, help="Images shown in detail.")] = 12,
    n_errors: Annotated[int, typer.Option("--n-errors", min=0, help="Wrong predictions shown.")] = 24,
    n_suspects: Annotated[int, typer.Option("--n-suspects", min=0, help="Suspect labels shown.")] = 24,
    n_duplicates: Annotated[int, typer.Option("--n-duplicates", min=0, help="Groups of duplicates shown.")] = 12,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the rows behind the page as JSON, and write them beside it.")
    ] = False,
) -> None:
    """Everything about a few images, a collection and channels, in one self-contained HTML file."""
    if not images and units is None and collection is None:
        raise typer.BadParameter("name images, or --collection, or --units with --channel")
    looked_at, methods = chosen_images(images) if images else None, method_keys(method) if method else None
    if collection is not None:
        check_collection(collection)
    pages = scanning.pages_of(model, units, layer, channel, output, overwrite=overwrite)
    if looked_at is None and pages:
        looked_at = chosen_images(list(dict.fromkeys(Path(page.top.names[0]) for page in pages)))
    from convscope.report import report as write_report

    with staged_progress() as step:
        written = write_report(
            model(),
            looked_at,
            output=output,
            collection=collection,
            target=chosen_target(target),
            methods=methods,
            units=pages,
            n_images=n_images,
            n_errors=n_errors,
            n_suspects=n_suspects,
            n_duplicates=n_duplicates,
            as_json=as_json,
            progress=step,
            overwrite=overwrite,
        )
    if as_json:
        typer.echo(written.with_suffix(".json").read_text(encoding="utf-8"), nl=False)
        return
    if looked_at is not None:
        _say_predictions(model, looked_at[:n_images])
    out.print(f"report written to {escape(str(written))}", soft_wrap=True)


def _say_predictions(model: Network, images: Any) -> None:
    prediction = model().predict(images)
    for name, ranked in zip(prediction.names, prediction.top(5 if prediction.are_values else 2), strict=True):
        found = in_words(ranked, are_values=prediction.are_values)
        out.print(escape(f"{name}: {found}"), highlight=False, soft_wrap=True)
    notes(prediction.provenance)
