"""The command that embeds images, and says what changed in the store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..checks import Precision
from ..texts import counted
from .chosen_network import Network, with_network
from .console import (
    err,
    escape,
    free_output,
    out,
    print_first,
    print_json,
    reporting,
    save,
    saving_partial,
    show,
    skipped,
)
from .options import Address, AsJson, Images, Output, RunBy, checked, chosen_images, opened_store
from .progress_bars import progress_bar

commands = typer.Typer()


@commands.command(epilog="Example: convscope embed photos/ --store photos.lance")
@reporting
@with_network
def embed(
    model: Network,
    images: Images,
    layer: Annotated[
        str | None, typer.Option(help="Layer whose output is kept; by default what the classifier takes in.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Keep the vectors in a store (a folder, or an address like s3://bucket/photos.lance) and skip "
            "the images that it holds already, so that a killed run goes on where it stopped."
        ),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove the rows of the store whose file is gone.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="With --prune: remove even more than half of the rows, or all of a folder that is not there.",
        ),
    ] = False,
    vectors: Annotated[
        Literal["float32", "float16"],
        typer.Option(help="Type in which a new store keeps vectors; float16 takes half the space."),
    ] = "float32",
    precision: Annotated[
        Precision,
        typer.Option(help="Type to compute with; bfloat16 may be faster."),
    ] = "float32",
    compiled: Annotated[
        bool,
        typer.Option("--compiled", help="Compile the network first; worth it from some thousand images on."),
    ] = False,
    reduced: Annotated[
        bool,
        typer.Option(
            "--reduced",
            help="Open large JPEG files at a half, a quarter or an eighth of their size where that still covers "
            "the network's input: faster, with slightly different vectors.",
        ),
    ] = False,
    runner: RunBy = "local",
    address: Address = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """The feature vector of every image, for `neighbors` and `project`."""
    chosen_images(images)  # for the error where one is not there
    options = checked("embed", layer=layer, precision=precision, compiled=compiled) | {"reduced": reduced}
    if store is not None:
        if output is not None:
            raise typer.BadParameter("--store keeps the vectors; --output belongs to a run without a store")
        options |= {"vectors": vectors, "runner": runner, "address": address}
        if yes and not prune:
            raise typer.BadParameter("--yes confirms --prune")
        _into_store(model, images, store, prune, yes, as_json, options)
        return
    if prune or yes or runner != "local" or address:
        raise typer.BadParameter("--prune, --yes, --runner and --address belong to --store")
    place = free_output(output, "embed")
    network = model()
    with saving_partial(place, as_json):
        embeddings = embedded(network, images, **options)
    show(embeddings, save(embeddings, place), as_json)


def _into_store(
    model: Network, images: list[Path], place: str, prune: bool, yes: bool, as_json: bool, options: dict[str, Any]
) -> None:
    from convscope import EmbeddingStore, ImageError
    from convscope.store import is_store

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
    if not as_json:
        _tell_changes(place, store, found, prune)
    n_pruned = store.prune(confirmed=yes) if prune else 0
    if as_json:
        counts = asdict(found) | {"pruned": n_pruned, "without_vector": store.count("error IS NOT NULL")}
        print_json({"store": place, "images": len(store)} | counts)
    elif n_pruned:
        out.print(f"removed {counted(n_pruned, 'row')} whose file is gone", highlight=False)
    if found.failed == found.given:
        raise ImageError(f"none of the {found.given} images could be read")


def _tell_changes(place: str, store: Any, found: Any, prunes: bool) -> None:
    n_lost = store.count("error IS NOT NULL")
    counts = ", ".join(
        f"{getattr(found, kind)} {kind}" for kind in ("new", "changed", "moved", "relabeled", "gone")
    )
    without = f", {n_lost} of them without a vector" if n_lost else ""
    out.print(f"{escape(place)}: {counts}; {len(store)} images in all{without}", highlight=False, soft_wrap=True)
    out.print(escape(store.origin.describe()), highlight=False, soft_wrap=True)
    if found.gone and not prunes:
        err.print(
            f"files that are gone take part in no answer; --prune removes {counted(found.gone, 'row')}",
            highlight=False,
        )
    if found.out_of_reach:
        err.print(
            f"out of reach: the files of {counted(found.out_of_reach, 'row')} (a disk that is not connected, or "
            "no permission); nothing was changed there",
            highlight=False,
        )
    for note in found.notes:
        err.print(f"note: {escape(note)}", highlight=False, soft_wrap=True)
    if found.skipped:
        err.print(f"{len(found.skipped)} could not be read:", highlight=False)
        lines = [f"  {reason}" for reason in found.skipped]
        print_first(lines, "  and {n} more (column error of the store)", err)


def embedded(
    model: Any, images: list[Path], layer: str | None = None, reduced: bool = False, **options: Any
) -> Any:
    """Images embedded now, under a bar; ``options`` are those of `convscope.embed`."""
    from convscope.embedding import embed as embed_images

    at_least = max(model.preprocessing.resize_px) if reduced and model.preprocessing else None
    with progress_bar("embed") as step:
        return embed_images(model, chosen_images(images, at_least), layer=layer, progress=step, **options)


def source_in(collection: str, model: Network, where: str | None) -> Any:
    """A store, or the part of it for which a condition holds; saved embeddings; or a folder embedded now."""
    from convscope.store import is_store

    if is_store(collection):
        return opened_store(collection, where)
    if where is not None:
        raise typer.BadParameter("--where asks a store; make one with `embed --store`")
    return vectors_in(Path(collection), model)


def vectors_in(path: Path, model: Network) -> Any:
    """Saved embeddings, or a folder of images embedded now."""
    from convscope.embedding import Embeddings
    from convscope.results.files import is_saved

    if is_saved(path):
        return Embeddings.load(path)
    embeddings = embedded(model(), [path])
    skipped(embeddings.provenance)
    return embeddings
