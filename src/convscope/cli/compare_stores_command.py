"""The command that compares two stores of the same images."""

from __future__ import annotations

from typing import Annotated

import typer

from ..checks import ProjectionMethod
from .console import free_output, notes, reporting, save, show_page, show_text
from .listing import AsCsv, free_csv, tell
from .options import AsJson, Output, Seed, WhatIsNear, Where, check_store, checked, opened_store
from .progress_bars import progress_bar

commands = typer.Typer()
_Other = Annotated[str, typer.Argument(help="A store of the same images by another network or layer.")]


@commands.command(epilog="Example: convscope compare-stores before.lance after.lance --k 5")
@reporting
def compare_stores(
    a: Annotated[str, typer.Argument(help="A store made by `embed --store`.")],
    b: _Other,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Neighbors that are compared, and that vote.")] = 10,
    metric: WhatIsNear = "cosine",
    method: Annotated[ProjectionMethod, typer.Option(help="Method of the two maps.")] = "pca",
    worst: Annotated[int, typer.Option(min=1, help="Images to keep whose neighbors changed most.")] = 8,
    seed: Seed = 0,
    where: Where = None,
    output: Output = None,
    as_json: AsJson = False,
    csv: AsCsv = None,
) -> None:
    """Two networks on the same images: shared neighbors, CKA, who knows the labels, two linked maps."""
    for store in (a, b):
        check_store(store)
    place, csv = free_output(output, "compare-stores", csv), free_csv(csv)
    options = checked("compare_stores", k=k, metric=metric, method=method, worst=worst, seed=seed)
    from convscope import compare_stores as compare
    from convscope.report.comparison_page import comparison_page

    stores = [opened_store(store, where) for store in (a, b)]
    with progress_bar("compare-stores") as step:
        found = compare(*stores, progress=step, **options)
    saved = save(found, place)
    page = comparison_page(found, saved / "compare.html", stores)
    if tell(found, saved, as_json, csv, k=found.neighbors_a.shape[1]):
        show_text(found)
        show_page(saved, page)
    notes(found.provenance)
