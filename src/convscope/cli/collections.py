"""Commands about collections of images: embed them, and ask what was embedded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer
from rich.table import Table

from ..checks import HIGHER_IS_NEARER, Metric, which_is_nearer
from .console import (
    err,
    escape,
    free_output,
    notes,
    out,
    print_json,
    progress_bar,
    reporting,
    save,
    saving_partial,
    show,
    show_place,
    show_text,
    skipped,
    table,
)
from .options import AsJson, Images, Network, Output, chosen_images, with_network
from .rows import AsCsv, and_more, free_csv, report

commands = typer.Typer()

Engine: TypeAlias = Annotated[
    Literal["local", "ray"], typer.Option(help="ray: by the workers of a Ray cluster, which can open the store.")
]
Address: TypeAlias = Annotated[
    str | None, typer.Option(help="Of the Ray cluster; by default Ray runs on this machine.")
]
_METRICS = ", ".join(f"{metric} ({which_is_nearer(metric)})" for metric in HIGHER_IS_NEARER)
WhatIsNear: TypeAlias = Annotated[Metric, typer.Option(help=f"What near means: {_METRICS}.")]
LISTED = 20  # files that could not be read


@commands.command(epilog="Example: convscope embed photos/ --store photos.lance")
@reporting
@with_network
def embed(
    model: Network,
    images: Images,
    layer: Annotated[str | None, typer.Option(help="Layer; by default what the classifier takes in.")] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Keep the vectors in a store, a folder or an address like s3://bucket/photos.lance, and leave "
            "out what is in it already: a run that was killed goes on where it stood."
        ),
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove rows of the store whose file is gone.")] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="With --prune: also more than half of the rows, or those of a folder that is not there."
        ),
    ] = False,
    vectors: Annotated[
        Literal["float32", "float16"], typer.Option(help="How a new store holds vectors; float16 takes half.")
    ] = "float32",
    precision: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="What is computed with; bfloat16 may be faster.")
    ] = "float32",
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Compile the network first; pays from some thousand images on.")
    ] = False,
    reduced: Annotated[
        bool,
        typer.Option(
            "--reduced",
            help="Open large JPEG files at a half, quarter or eighth of their size, if that still covers the "
            "network's input: faster, and not quite the same vectors.",
        ),
    ] = False,
    engine: Engine = "local",
    address: Address = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """The feature vector of every image, for `neighbors` and `project`."""
    options: dict[str, Any] = {"layer": layer, "precision": precision, "compiled": compiled, "reduced": reduced}
    if store is not None:
        if output is not None:
            raise typer.BadParameter("--store keeps the vectors; --output belongs to a run without a store")
        options |= {"vectors": vectors, "engine": engine, "address": address}
        if yes and not prune:
            raise typer.BadParameter("--yes confirms --prune")
        _into_store(model, images, store, prune, yes, as_json, options)
        return
    if prune or yes or engine != "local" or address:
        raise typer.BadParameter("--prune, --yes, --engine and --address belong to --store")
    place = free_output(output, "embed")
    network = model()
    with saving_partial(place, as_json):
        embeddings = embedded(network, images, **options)
    show(embeddings, save(embeddings, place), as_json)


def _into_store(
    model: Network, images: list[Path], place: str, prune: bool, yes: bool, as_json: bool, options: dict[str, Any]
) -> None:
    from convscope import EmbeddingStore, ImageError

    try:
        store = embedded(model(), images, store=place, **options)
    except KeyboardInterrupt:
        if is_store(place):
            kept = len(EmbeddingStore.open(place))
            err.print(
                f"{kept} images are kept in {escape(place)}; the same command goes on from there", highlight=False
            )
        raise
    found = store.changes
    n_pruned = store.prune(confirmed=yes) if prune else 0
    n_lost = store.count("error IS NOT NULL")
    if as_json:
        counts = asdict(found) | {"pruned": n_pruned, "without_vector": n_lost}
        print_json({"store": place, "images": len(store)} | counts)
    else:
        _tell_changes(place, store, found, n_pruned, n_lost)
    if found.failed == found.given:
        raise ImageError(f"none of the {found.given} images could be read")


def _tell_changes(place: str, store: Any, found: Any, n_pruned: int, n_lost: int) -> None:
    counts = ", ".join(
        f"{getattr(found, kind)} {kind}" for kind in ("new", "changed", "moved", "relabeled", "gone")
    )
    without = f", {n_lost} of them without a vector" if n_lost else ""
    out.print(f"{escape(place)}: {counts}; {len(store)} images in all{without}", highlight=False, soft_wrap=True)
    out.print(escape(store.origin.describe()), highlight=False, soft_wrap=True)
    if n_pruned:
        out.print(f"{n_pruned} rows whose file is gone were removed")
    elif found.gone:
        err.print(
            f"{found.gone} rows whose file is gone take part in no answer; --prune removes them", highlight=False
        )
    if found.out_of_reach:
        err.print(
            f"{found.out_of_reach} rows are of files that are out of reach (a disk that is not connected, or no "
            "permission), and stay as they are",
            highlight=False,
        )
    for note in found.notes:
        err.print(f"note: {escape(note)}", highlight=False, soft_wrap=True)
    if found.skipped:
        err.print(f"{len(found.skipped)} could not be read:", highlight=False)
        for reason in found.skipped[:LISTED]:
            err.print(f"  {escape(reason)}", highlight=False, soft_wrap=True)
        if len(found.skipped) > LISTED:
            err.print(f"  and {len(found.skipped) - LISTED} more (column error of the store)", highlight=False)


@commands.command(epilog="Example: convscope neighbors photos.lance photo.jpg --k 5 --where \"label = 'cat'\"")
@reporting
@with_network
def neighbors(
    model: Network,
    collection: Annotated[
        str, typer.Argument(help="A store, a folder written by `embed`, or a folder of images.")
    ],
    query: Annotated[
        list[str],
        typer.Argument(
            help="Names of images in the collection (paths or ids in a store, row numbers outside of one), each "
            "left out of its own neighbors. If any is something else, all are read as image files and embedded."
        ),
    ],
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Neighbors of each query.")] = 5,
    metric: WhatIsNear = "cosine",
    space: Annotated[
        Literal["feature", "pixel"], typer.Option(help="Vectors of the network, or raw pixels.")
    ] = "feature",
    where: Annotated[
        str | None,
        typer.Option(help="Condition on a store's rows: \"label = 'cat' AND predicted != label\"."),
    ] = None,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Ask the index that `index` has made.")
    ] = False,
    output: Output = None,
    as_json: AsJson = False,
    csv: AsCsv = None,
) -> None:
    """The images that the network thinks are most like another, with their scores."""
    place, csv = free_output(output, "neighbors", csv), free_csv(csv)
    options: dict[str, Any] = {"k": k, "metric": metric, "space": space}
    if is_store(collection):
        found = _asked(model, collection, query, where=where, exact=not approximate, **options)
    elif where or approximate:
        raise typer.BadParameter("--where and --approximate ask a store; make one with `embed --store`")
    else:
        embeddings = _collection(Path(collection), model)
        found = embeddings.neighbors(_queries(query, embeddings, model), **options)
    saved = save(found, place)
    values = {"indices": found.indices.tolist(), "scores": found.scores.tolist()} if as_json else {}
    if report(found, saved, as_json, csv, **values):
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
    collection: Annotated[
        str, typer.Argument(help="A store, a folder written by `embed`, or a folder of images.")
    ],
    method: Annotated[
        Literal["pca", "tsne", "umap"], typer.Option(help="How; umap needs convscope\\[umap].")
    ] = "pca",
    n_components: Annotated[int, typer.Option("--n-components", min=1, help="Dimensions to keep.")] = 2,
    seed: Annotated[int, typer.Option(help="Of what is random in a method; nothing is in pca.")] = 0,
    engine: Engine = "local",
    address: Address = None,
    output: Output = None,
    as_json: AsJson = False,
    csv: AsCsv = None,
) -> None:
    """A map of a collection, with how far it can be trusted; of a store also as a page to look around in."""
    from convscope import EmbeddingStore
    from convscope.embedding import project as project_vectors

    place, csv = free_output(output, "project", csv), free_csv(csv)
    options: dict[str, Any] = {"method": method, "n_components": n_components, "seed": seed}
    options |= {"engine": engine, "address": address}
    if not is_store(collection):
        projection = project_vectors(_collection(Path(collection), model), **options)
        _show_map(projection, save(projection, place), as_json, csv)
        return
    from convscope.report.store_map import store_map

    store = EmbeddingStore.open(collection)
    projection = project_vectors(store, **options)
    saved = save(projection, place)
    store_map(store, projection, saved / "map.html")
    _show_map(projection, saved, as_json, csv)
    if not as_json:
        out.print(f"open {escape(str(saved / 'map.html'))} in a browser", highlight=False, soft_wrap=True)


def _show_map(projection: Any, saved: Path, as_json: bool, csv: Path | None) -> None:
    if report(projection, saved, as_json, csv):
        show_text(projection)
        show_place(saved)
    notes(projection.provenance)


def _collection(path: Path, model: Network) -> Any:
    """Saved embeddings, or a folder of images embedded now."""
    from convscope.embedding import Embeddings

    if (path / "manifest.json").is_file():
        return Embeddings.load(path)
    embeddings = embedded(model(), [path])
    skipped(embeddings.provenance)
    return embeddings


def _queries(query: list[str], embeddings: Any, model: Network) -> Any:
    """Rows of the collection, if all are row numbers or names in it; or else images, embedded now."""
    from convscope.embedding.queries import check_network

    row_of = {name: row for row, name in enumerate(embeddings.names)}
    rows = [int(q) if q.isdecimal() else row_of.get(str(Path(q))) for q in query]
    if None not in rows:
        return rows
    check_network(embeddings, model())
    return embedded(model(), [Path(q) for q in query], embeddings.layer)


def embedded(
    model: Any, images: list[Path], layer: str | None = None, reduced: bool = False, **options: Any
) -> Any:
    from convscope.embedding import embed as embed_images

    at_least = max(model.preprocessing.resize_px) if reduced and model.preprocessing else None
    with progress_bar("embed") as step:
        return embed_images(model, chosen_images(images, at_least), layer=layer, progress=step, **options)


def is_store(place: str) -> bool:
    from convscope.embedding.lance import has_table, is_local

    return not is_local(place) or has_table(Path(place).expanduser())


def _asked(model: Network, place: str, query: list[str], **options: Any) -> Any:
    """Neighbors in a store; the network is loaded only for images that are not in it."""
    from convscope import EmbeddingStore
    from convscope.errors import NotInStoreError

    with progress_bar("neighbors") as step:
        try:
            return EmbeddingStore.open(place).neighbors(query, progress=step, **options)
        except NotInStoreError:
            store = EmbeddingStore.open(place, model=model())
            return store.neighbors([Path(q) for q in query], progress=step, **options)


def _neighbor_tables(found: Any) -> Iterator[Table]:
    """A table for each of the first queries: score, label and name of its first neighbors."""
    for name, indices, scores in zip(found.query_names[:LISTED], found.indices, found.scores, strict=False):
        rows = [
            (f"{score:.4f}", str(found.labels[row] or ""), found.names[row])
            for row, score in zip(indices[:LISTED], scores[:LISTED], strict=True)
        ]
        yield table(name, (f"{found.metric} ({which_is_nearer(found.metric)})", "label", "image"), rows)
