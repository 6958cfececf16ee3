"""Commands that explore a collection: what is near an image, and a map of all of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from ..checks import ProjectionMethod, which_is_nearer
from .chosen_network import Network, with_network
from .console import LISTED, escape, free_output, notes, out, reporting, save, show_place, show_text, table
from .embedding import embedded, source_in, vectors_in
from .listing import AsCsv, and_more, free_csv, tell
from .options import (
    Address,
    AsJson,
    Collection,
    Output,
    RunBy,
    WhatIsNear,
    Where,
    check_collection,
    checked,
)
from .progress_bars import progress_bar, stage

commands = typer.Typer()


@commands.command(epilog="Example: convscope neighbors photos.lance photo.jpg --k 5 --where \"label = 'cat'\"")
@reporting
@with_network
def neighbors(
    model: Network,
    collection: Collection,
    query: Annotated[
        list[str],
        typer.Argument(
            help="Images to ask for: paths or ids in a store, row numbers outside of one; none is its own "
            "neighbor. If one is not in the collection, all are read as image files and embedded."
        ),
    ],
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Neighbors of each query.")] = 5,
    metric: WhatIsNear = "cosine",
    space: Annotated[
        Literal["feature", "pixel"], typer.Option(help="Vectors of the network, or raw pixels.")
    ] = "feature",
    where: Where = None,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Ask the index made by `index`: faster, and not exact.")
    ] = False,
    output: Output = None,
    as_json: AsJson = False,
    csv: AsCsv = None,
) -> None:
    """The images that the network thinks are most like another, with their scores."""
    place, csv = free_output(output, "neighbors", csv), free_csv(csv)
    check_collection(collection)
    options: dict[str, Any] = {"k": k, "metric": metric, "space": space}
    from convscope import neighbors as nearest
    from convscope.store import is_store

    if is_store(collection):
        found = _asked(model, collection, query, where=where, exact=not approximate, **options)
    elif where or approximate:
        raise typer.BadParameter("--where and --approximate ask a store; make one with `embed --store`")
    else:
        embeddings = vectors_in(Path(collection), model)
        found = nearest(embeddings, _queries(query, embeddings, model), **options)
    saved = save(found, place)
    if tell(found, saved, as_json, csv):
        for each in _neighbor_tables(found):
            out.print(each)
            and_more(found.indices.shape[1], "neighbors")
        and_more(len(found.query_names), "queries")
        show_place(saved)
    notes(found.provenance)


@commands.command(epilog="Example: convscope project photos.lance --method tsne")
@reporting
@with_network
def project(
    model: Network,
    collection: Collection,
    method: Annotated[
        ProjectionMethod, typer.Option(help="Method of the map; umap needs convscope\\[umap].")
    ] = "pca",
    n_components: Annotated[int, typer.Option("--n-components", min=1, help="Dimensions to keep.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of what is random in tsne and umap.")] = 0,
    where: Where = None,
    runner: RunBy = "local",
    address: Address = None,
    output: Output = None,
    as_json: AsJson = False,
    csv: AsCsv = None,
) -> None:
    """A map of a collection, with how far it can be trusted, as a picture and as a page to look around in."""
    place, csv = free_output(output, "project", csv), free_csv(csv)
    check_collection(collection)
    options = checked(
        "project", method=method, n_components=n_components, seed=seed, runner=runner, address=address
    )
    from convscope.embedding import project as project_vectors

    source = source_in(collection, model, where)
    with stage("project"):
        projection = project_vectors(source, **options)
    saved = save(projection, place)
    if tell(projection, saved, as_json, csv):
        show_text(projection)
        show_place(saved)
        if (page := saved / "map.html").exists():
            out.print(f"open {escape(str(page))} in a browser", highlight=False, soft_wrap=True)
    notes(projection.provenance)


def _queries(query: list[str], embeddings: Any, model: Network) -> Any:
    """Rows of the collection, if all are row numbers or names in it; or else images, embedded now."""
    from convscope.embedding.origins import check_model

    row_of = {name: row for row, name in enumerate(embeddings.names)}
    rows = [int(q) if q.isdecimal() else row_of.get(str(Path(q))) for q in query]
    if None not in rows:
        return rows
    check_model(embeddings, model())
    return embedded(model(), [Path(q) for q in query], embeddings.layer)


def _asked(model: Network, place: str, query: list[str], **options: Any) -> Any:
    """Neighbors in a store; the network is loaded only for images that are not in it."""
    from convscope import EmbeddingStore
    from convscope import neighbors as nearest
    from convscope.errors import NotEmbeddedError

    store = EmbeddingStore.open(place)
    with progress_bar("neighbors") as step:
        try:
            return nearest(store, query, progress=step, **options)
        except NotEmbeddedError:
            return nearest(store, [Path(q) for q in query], model=model(), progress=step, **options)


def _neighbor_tables(found: Any) -> Iterator[Table]:
    """A table for each of the first queries: score, label and name of its first neighbors."""
    for name, indices, scores in zip(found.query_names[:LISTED], found.indices, found.scores, strict=False):
        rows = [
            (f"{score:.4f}", str(found.labels[row] or ""), found.names[row])
            for row, score in zip(indices[:LISTED], scores[:LISTED], strict=True)
        ]
        metric = f"{found.metric} of pixels" if found.space == "pixel" else found.metric
        yield table(name, (f"{metric} ({which_is_nearer(found.metric)})", "label", "image"), rows)
