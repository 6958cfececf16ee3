"""`attribute_dataset`: an attribution for every image of a store, summarized in the row of the image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from ..arguments import checks_arguments
from ..attribution import ATTRIBUTIONS
from ..checks import Runner, check_address
from ..embedding.distributed import on_ray
from ..embedding.origins import check_model
from ..errors import ImageError
from ..images import ImageSet, ImageSource
from ..models import Model, as_model
from ..progress import Progress
from ..registry import method_key
from ..results import Attribution
from ..store import EmbeddingStore, StoredRows
from ..store.conditions import both
from ..store.keys import has_changed, path_of
from .map_summary import centers, focus, map_thumbnail

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 32  # images that are attributed and written together; a run that is killed loses one block


@checks_arguments
def attribute_dataset(
    model: Model | nn.Module,
    store: StoredRows,
    *,
    method: str = "saliency",
    where: str | None = None,
    runner: Runner = "local",
    address: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> StoredRows:
    """Make an attribution for every image of a store, and write a summary of it into the image's row.

    With the method "saliency" a row gets ``saliency_target``, the class that is explained; ``saliency_score``;
    ``saliency_focus``, the share of the map's absolute values in its highest tenth of the pixels (0.1: spread
    evenly, 1: all in there); ``saliency_x`` and ``saliency_y``, the center of gravity of the absolute values, from
    0, left and top, to 1; ``saliency_map``, the absolute values as a gray JPEG of 64 px, white where they are
    highest. Rows that have these are skipped, so a run that was stopped goes on where it was; with another network
    or other options than last time all rows are made again.

    Args:
        model: the network to explain; if a network made the store, that one.
        store: the store, whose image files are read again; or a part of it, by ``store.where(...)``.
        method: a key of `convscope.ATTRIBUTIONS`.
        where: a condition on the rows; see `convscope.neighbors`.
        runner: "ray" for the workers of a Ray cluster; see `convscope.embed`.
        address: of the cluster.
        progress: called with (images done, images in all).
        options: of the method.

    Returns:
        The store, or the part of it.

    Raises:
        StoreError: another network made the store.
        ParameterError: an unknown method, or a condition that cannot be read.

    Cost: that of the method, for each image.
    """
    method = method_key(method)
    check_address(address, runner)
    model = as_model(model)
    check_model(store, model)
    work = _Work(model, method, options)
    given, where = store, both(store.condition, where)
    store = EmbeddingStore(given.table)  # as a whole: other rows may hold what other options made
    store.check(where)
    chosen = store.in_use(where)
    total = store.count(chosen)
    _forget_others(store, model, method, options)
    column = f"{method}_focus"
    if column in store.schema.names:
        chosen = f"{chosen} AND {column} IS NULL"
    stamps = store.by_path("stamp", chosen)
    # A file that has changed is another picture than the one in its row.
    paths = [path for path, stamp in stamps.items() if not has_changed(path, stamp)]
    done = total - len(paths)
    blocks = on_ray(work, paths, _BLOCK, address) if runner == "ray" else _here(work, paths)
    for n, rows in blocks:
        if rows is not None and len(rows):
            store.add_columns(rows)
        done += n
        if progress:
            progress(done, total)
    store.compact()
    return given


def _forget_others(store: EmbeddingStore, model: Model, method: str, options: Mapping[str, Any]) -> None:
    """Forget the summaries that another network or other options made."""
    import pyarrow as pa

    name, column = f"attribution {method}", f"{method}_focus"
    weights = model.provenance(method, {}, 0.0).model.get("weights_sha256")
    about = json.loads(json.dumps({"weights": weights, "options": dict(options)}, default=repr))
    kept = store.fits.recall(name)
    if column in store.schema.names and (kept is None or kept[0] != about):
        for batch in store.batches(["path"], f"{column} IS NOT NULL"):
            store.add_columns(pa.table({"path": batch["path"], column: pa.nulls(len(batch), pa.float32())}))
    store.fits.remember(name, about)


def _here(work: _Work, paths: Sequence[str]) -> Iterator[tuple[int, pa.Table | None]]:
    for first in range(0, len(paths), _BLOCK):
        part = paths[first : first + _BLOCK]
        yield len(part), work(part)


class _Work:
    """Attributes some images, here or on a worker."""

    def __init__(self, model: Model, method: str, options: Mapping[str, Any]) -> None:
        self._model, self._method, self._options = model, method, dict(options)

    def __call__(self, paths: Sequence[str]) -> pa.Table | None:
        """The rows of the images that can still be read; None if none can."""
        images = ImageSet([ImageSource(path, Path(path_of(path))) for path in paths], skip_errors=True)
        try:
            found = ATTRIBUTIONS[self._method](self._model, images, **self._options)
        except ImageError:  # none of them can be read
            return None
        return _rows(found, self._method)


def _rows(found: Attribution, method: str) -> pa.Table:
    import pyarrow as pa

    sizes = np.abs(found.values)
    x, y = centers(sizes)
    columns = {
        "path": pa.array(found.names),
        f"{method}_target": pa.array(found.targets),
        f"{method}_score": pa.array(found.scores, pa.float32()),
        f"{method}_focus": pa.array(focus(sizes), pa.float32()),
        f"{method}_x": pa.array(x, pa.float32()),
        f"{method}_y": pa.array(y, pa.float32()),
        f"{method}_map": pa.array([map_thumbnail(each) for each in sizes], pa.binary()),
    }
    return pa.table(columns)
