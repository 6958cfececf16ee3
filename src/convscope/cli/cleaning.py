"""Commands that find what to clean up in a collection: doubtful labels, images that lie apart, copies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..checks import Evidence, SuspectKind
from .chosen_network import Network, with_network
from .console import err, free_output, notes, out, reporting, save, show_page, show_text
from .embedding import source_in
from .listing import AsCsv, free_csv, print_lines, tell
from .options import (
    AsJson,
    Collection,
    Output,
    Store,
    WhatIsNear,
    Where,
    check_collection,
    check_store,
    checked,
    opened_store,
)
from .progress_bars import progress_bar

commands = typer.Typer()


@commands.command(epilog="Example: convscope suspects photos.lance --maps 24 --csv suspects.csv")
@reporting
@with_network
def suspects(
    model: Network,
    collection: Collection,
    kind: Annotated[
        SuspectKind,
        typer.Option(
            help="What is suspected: a label, an image that lies apart, or one the network cannot decide."
        ),
    ] = "label",
    by: Annotated[
        Evidence,
        typer.Option(
            help="Evidence against a label: its neighbors, a linear classifier trained on the other images, the "
            "network where the labels are its classes, or all of them."
        ),
    ] = "all",
    k: Annotated[
        int, typer.Option("--k", "-k", min=1, help="Neighbors that vote, or whose nearness counts.")
    ] = 20,
    limit: Annotated[int, typer.Option(min=1, help="Images to keep with their neighbors and pictures.")] = 200,
    maps: Annotated[
        int | None,
        typer.Option(
            "--maps",
            min=1,
            help="Show what the network looked at in so many of the first: a map over each image.",
            show_default=False,
        ),
    ] = None,
    where: Where = None,
    output: Output = None,
    as_json: AsJson = False,
    csv: AsCsv = None,
) -> None:
    """Images to look at first: the label may be wrong, or they do not belong there. All are ranked."""
    place, csv = free_output(output, "suspects", csv), free_csv(csv)
    check_collection(collection)
    options = checked("suspects", kind=kind, by=by, k=k, limit=limit)
    if maps is not None and kind == "outlier":
        raise typer.BadParameter("--maps: what makes an outlier is in no place of the image; leave it out")
    from convscope import suspects as find
    from convscope.report.fault_page import fault_page

    source = source_in(collection, model, where)
    if maps is not None and not source.made.parameters["layer"]:
        raise typer.BadParameter("--maps: no network made these vectors; they were brought along")
    with progress_bar("suspects") as step:
        found = find(source, progress=step, **options)
    saved = save(found, place)
    page = fault_page(found, saved / "suspects.html")
    made = None if maps is None else _with_maps(model, found, maps, page)
    if tell(found, saved, as_json, csv, n_doubted=found.n_doubted, maps=_map_rows(made, saved)):
        show_text(found)
        show_page(saved, page)
    notes(found.provenance)
    if made is not None:
        notes(made.provenance)


def _with_maps(model: Network, found: Any, limit: int, page: Path) -> Any:
    """Maps of the first suspects, saved beside them, and laid over the images on the page and in the picture."""
    if found.kind == "label" and not found.is_doubted[: len(found.near)].any():
        err.print("note: no label is doubted, so there is nothing to map", highlight=False)
        return None
    from convscope import suspect_maps
    from convscope.render import save_png
    from convscope.report.fault_page import fault_page

    with progress_bar("maps") as step:
        made = suspect_maps(model.of(found), found, limit=limit, progress=step)
    made.save(page.with_name("maps"))
    save_png(found, page.with_name("picture.png"), overwrite=True, maps=made)
    fault_page(found, page, made)
    return made


def _map_rows(made: Any, saved: Path) -> dict[str, Any] | None:
    """What --json says of the maps: where they are, by which method, and what each is about."""
    if made is None:
        return None
    rows = zip(made.names, made.targets, made.scores.tolist(), strict=True)
    about = [{"path": name, "target": target, "score": score} for name, target, score in rows]
    return {"output": str(saved / "maps"), "method": made.provenance.method, "rows": about}


@commands.command(epilog="Example: convscope duplicates train.lance --against test.lance --csv pairs.csv")
@reporting
def duplicates(
    store: Store,
    against: Annotated[
        str | None,
        typer.Option(
            help="Compare only with another store, such as that of the test set, or with the images of the store "
            "in this folder.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Score from which on two images are a pair (euclidean: up to which); by default found from the "
            "scores of the nearest.",
            show_default=False,
        ),
    ] = None,
    metric: WhatIsNear = "cosine",
    limit: Annotated[
        int,
        typer.Option(min=1, help="Pairs to keep at most: so many of equal images, and as many of others."),
    ] = 1000,
    where: Where = None,
    output: Output = None,
    as_json: AsJson = False,
    csv: AsCsv = None,
) -> None:
    """Groups of images in a store that are nearly the same, the one to keep first, and their pairs."""
    check_store(store)
    place, csv = free_output(output, "duplicates", csv), free_csv(csv)
    options = checked("duplicates", threshold=threshold, metric=metric, limit=limit)
    from convscope import EmbeddingStore
    from convscope import duplicates as find
    from convscope.report.fault_page import fault_page
    from convscope.store import is_store

    other_side = EmbeddingStore.open(against) if against is not None and is_store(against) else against
    with progress_bar("duplicates") as step:
        found = find(opened_store(store, where), against=other_side, progress=step, **options)
    if not as_json:
        _tell(found)
    saved = save(found, place)
    page = fault_page(found, saved / "duplicates.html")
    if tell(found, saved, as_json, csv, groups=found.groups, copies=found.copies):
        show_page(saved, page)
    notes(found.provenance)


def _tell(found: Any) -> None:
    """Print how many groups and pairs there are, and the first groups."""
    from convscope.results.collection_faults import groups_in_words, pairs_in_words

    for line in (pairs_in_words(found), groups_in_words(found)):
        out.print(line, highlight=False, soft_wrap=True)
    contents = dict(zip(found.names, found.content.tolist(), strict=True))
    lines = []
    for first, *others in found.groups:
        same = sum(contents[name] == contents[first] for name in others)
        files = f" ({same} the same file)" if same else ""
        lines.append(
            f"keep {first}  like {others[0]}{f' and {len(others) - 1} more' if len(others) > 1 else ''}{files}"
        )
    print_lines(lines, "groups")
