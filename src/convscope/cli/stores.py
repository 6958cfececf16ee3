"""Commands about a store: what is in it, how good it is, and where its images lie."""

from __future__ import annotations

from typing import Annotated

import typer

from ..checks import ClusterMethod, Metric, ProjectionMethod
from ..registry import method_key
from .chosen_network import Network, with_network
from .console import free_output, notes, out, print_json, reporting, save, show_place, show_text, skipped, table
from .embedding import embedded
from .listing import AsCsv, class_rows, free_csv, print_lines, tell
from .options import (
    Address,
    AsJson,
    Images,
    Output,
    RunBy,
    Store,
    WhatIsNear,
    Where,
    check_store,
    checked,
    chosen_images,
    opened_store,
)
from .progress_bars import progress_bar, stage

commands = typer.Typer()


@commands.command(epilog="Example: convscope index photos.lance --recall 0.98")
@reporting
def index(
    store: Store,
    metric: Annotated[Metric, typer.Option(help="What near means; an index answers for one metric.")] = "cosine",
    recall: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of the true neighbors that it should find.")
    ] = 0.95,
    as_json: AsJson = False,
) -> None:
    """An index for `neighbors --approximate`: faster answers, and how many of them are right."""
    check_store(store)
    options = checked("index", metric=metric, recall=recall)
    from convscope import EmbeddingStore
    from convscope import index as build

    with stage("index"):
        found = build(EmbeddingStore.open(store), **options)
    if as_json:
        print_json(found)
        return
    out.print(
        f"finds {found['recall']:.1%} of the {found['k']} nearest in {found['ms']:.2f} ms a query; looking at all "
        f"{found['n_rows']} takes {found['exact_ms']:.2f} ms"
        + ("" if found["ms"] < found["exact_ms"] else ": stay with exact search"),
        highlight=False,
        soft_wrap=True,
    )


@commands.command(epilog="Example: convscope evaluate-retrieval photos.lance --k 5 --worst 50 --csv worst.csv")
@reporting
def evaluate_retrieval(
    store: Store,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Neighbors that vote.")] = 5,
    metric: WhatIsNear = "cosine",
    worst: Annotated[int, typer.Option(min=1, help="Queries to keep whose neighbors agree the least.")] = 8,
    where: Where = None,
    output: Output = None,
    as_json: AsJson = False,
    csv: AsCsv = None,
) -> None:
    """How well the neighbors of labeled images tell their label, compared with pixels and chance."""
    check_store(store)
    place, csv = free_output(output, "retrieval", csv), free_csv(csv)
    options = checked("evaluate_retrieval", k=k, metric=metric, worst=worst)
    from convscope import evaluate_retrieval as evaluate

    source = opened_store(store, where)
    with stage("evaluate-retrieval"):
        found = evaluate(source, **options)
    saved = save(found, place)
    if tell(found, saved, as_json, csv, scores=found.macro, classes=class_rows(found)):
        show_text(found)
        every = zip(found.worst, found.worst_shares, strict=True)
        lines = [f"  {share:.0%} of {found.k} agree  {found.labels[i]}  {found.names[i]}" for i, share in every]
        print_lines(lines, "queries")
        show_place(saved)
    notes(found.provenance)


@commands.command(epilog="Example: convscope attribute-dataset photos.lance --method occlusion")
@reporting
@with_network
def attribute_dataset(
    model: Network,
    store: Store,
    method: Annotated[str, typer.Option(help="The attribution method.")] = "saliency",
    where: Where = None,
    runner: RunBy = "local",
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """An attribution for every image of a store, summarized in its row.

    Columns, for saliency: saliency_target, the class that is explained; saliency_score; saliency_focus, the share
    of the map in its strongest tenth (0.1 if spread evenly); saliency_x and saliency_y, its center of gravity, 0
    at the left and the top, 1 at the right and the bottom; saliency_map, a thumbnail.
    """
    method = method_key(method)
    check_store(store)
    from convscope import EmbeddingStore
    from convscope import attribute_dataset as attribute

    opened = EmbeddingStore.open(store)
    with progress_bar(method) as step:
        attribute(model(), opened, method=method, where=where, runner=runner, address=address, progress=step)
    kinds = ("target", "score", "focus", "x", "y", "map")
    columns = [name for kind in kinds if (name := f"{method}_{kind}") in opened.schema.names]
    used = opened.in_use(where)
    n_all = opened.count(used)
    n = opened.count(f"{used} AND {method}_focus IS NOT NULL") if columns else 0
    if as_json:
        print_json({"store": store, "images": n_all, "attributed": n, "columns": columns})
        return
    which = "of those images" if where else "images"
    out.print(f"{n} of {n_all} {which} have {', '.join(columns) or 'a map'}", highlight=False, soft_wrap=True)
    if n < n_all:
        out.print(
            f"the files of the other {n_all - n} could not be read, or have changed and must be embedded again",
            highlight=False,
        )


@commands.command(epilog="Example: convscope place photos.lance new.jpg --method tsne")
@reporting
@with_network
def place(
    model: Network,
    store: Store,
    images: Images,
    method: Annotated[ProjectionMethod, typer.Option(help="The method by which `project` made the map.")] = "pca",
    as_json: AsJson = False,
) -> None:
    """Where new images lie on a map that `project` made of a store; the store stays as it is."""
    check_store(store)
    chosen_images(images)
    from convscope import EmbeddingStore
    from convscope import place as placed
    from convscope.embedding.origins import check_model

    network, opened = model(), EmbeddingStore.open(store)
    check_model(opened, network, embeds=True)
    embeddings = embedded(network, images, opened.origin.layer)
    places = placed(opened, embeddings, method=method)
    if as_json:
        print_json({"names": list(embeddings.names), "coordinates": places.tolist()})
    else:
        header = ("image", *(f"{method} {axis + 1}" for axis in range(places.shape[1])))
        rows = [(name, *(f"{x:.3f}" for x in at)) for name, at in zip(embeddings.names, places, strict=True)]
        out.print(table("", header, rows))
    skipped(embeddings.provenance)


@commands.command(epilog="Example: convscope cluster photos.lance --method kmeans --n-clusters 9 --csv groups.csv")
@reporting
def cluster(
    store: Store,
    method: Annotated[
        ClusterMethod,
        typer.Option(help="Method: hdbscan finds how many groups there are, kmeans is told."),
    ] = "hdbscan",
    n_clusters: Annotated[
        int | None, typer.Option("--n-clusters", min=1, help="For kmeans: how many groups.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of kmeans.")] = 0,
    where: Where = None,
    output: Output = None,
    as_json: AsJson = False,
    csv: AsCsv = None,
) -> None:
    """Groups of similar images, written into the store and shown on its map from then on; not of a part of it."""
    check_store(store)
    place, csv = free_output(output, "cluster", csv), free_csv(csv)
    if (method == "kmeans") != (n_clusters is not None):
        raise typer.BadParameter("--method kmeans and --n-clusters belong together")
    options = checked("cluster", method=method, n_clusters=n_clusters, seed=seed)
    from convscope import cluster as find

    source = opened_store(store, where)
    with stage("cluster"):
        found = find(source, **options)
    saved = save(found, place)
    if tell(found, saved, as_json, csv):
        show_text(found)
        show_place(saved)
    notes(found.provenance)
