"""An attribution for every image of a store: what the maps have in common is found by asking the store."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..arguments import checks_arguments
from ..attribution import ATTRIBUTIONS
from ..checks import Engine, check_address
from ..embedding import EmbeddingStore
from ..embedding.distributed import on_ray
from ..embedding.origins import check_model
from ..errors import ImageError
from ..images import ImageSet, Source
from ..models import Model, as_model
from ..progress import Progress
from ..registry import method_key
from ..results import Array, Attribution
from ..store.keys import has_changed, path_of

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 32  # images that are attributed and written together: so much is computed again after a kill
_SIDE = 64  # pixels of a map's thumbnail
_TOP = 0.1  # share of the pixels that ``focus`` looks at


@checks_arguments
def attribute_dataset(
    model: Model | nn.Module,
    store: EmbeddingStore,
    *,
    method: str = "saliency",
    where: str | None = None,
    engine: Engine = "local",
    address: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> EmbeddingStore:
    """An attribution for every image of a store, summed up in its row.

    For a method "saliency" a row gets ``saliency_target``, whose score is explained; ``saliency_score``;
    ``saliency_focus``, the share of the map's absolute values in the tenth of the pixels where they are largest
    (0.1: spread evenly, 1: all in there); ``saliency_x`` and ``saliency_y``, their center of gravity from 0, left
    and top, to 1; ``saliency_map``, the absolute values as a gray JPEG of 64 px, white where they are largest.
    Rows that have them are left out, so that a run that was stopped goes on; with another network or other options
    than the last time all are made again.

    Args:
        model: the network that is explained: the one that made the store, where a network did.
        store: whose files are read again.
        method: a key of `convscope.ATTRIBUTIONS`.
        where: a condition on the rows; see `EmbeddingStore.neighbors`.
        engine: "ray" lets the workers of a Ray cluster do it; see `convscope.embed`.
        address: of the cluster.
        progress: called with (images done, images in all).
        options: of the method.

    Returns:
        The store.

    Raises:
        StoreError: another network made the store.
        ParameterError: no such method, or a condition that cannot be read.

    Cost: that of the method for each image.
    """
    method = method_key(method)
    check_address(address, engine)
    model = as_model(model)
    check_model(store, model)
    work = _Work(model, method, options)
    store.check(where)
    chosen = store.in_use(where)
    total = store.count(chosen)
    _forget_others(store, model, method, options)
    column = f"{method}_focus"
    if column in store.schema.names:
        chosen = f"{chosen} AND {column} IS NULL"
    stamps = store.by_path("stamp", chosen)
    paths = [
        path for path, stamp in stamps.items() if not has_changed(path, stamp)
    ]  # or it is another picture's row
    done = total - len(paths)
    for n, rows in on_ray(work, paths, _BLOCK, address) if engine == "ray" else _here(work, paths):
        if rows is not None and len(rows):
            store.add_columns(rows)
        done += n
        if progress:
            progress(done, total)
    store.compact()
    return store


def _forget_others(store: EmbeddingStore, model: Model, method: str, options: Mapping[str, Any]) -> None:
    """Rows that another network or other options made count as not made."""
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
    """From paths to rows; sent to workers as it is."""

    def __init__(self, model: Model, method: str, options: Mapping[str, Any]) -> None:
        self._model, self._method, self._options = model, method, dict(options)

    def __call__(self, paths: Sequence[str]) -> pa.Table | None:
        """The rows of those images that can still be read; None where there are none."""
        images = ImageSet([Source(path, Path(path_of(path))) for path in paths], skip_errors=True)
        try:
            found = ATTRIBUTIONS[self._method](self._model, images, **self._options)
        except ImageError:  # none of them can be read
            return None
        return _rows(found, self._method)


def _rows(found: Attribution, method: str) -> pa.Table:
    import pyarrow as pa

    sizes = np.abs(found.values)
    x, y = _centers(sizes)
    columns = {
        "path": pa.array(found.names),
        f"{method}_target": pa.array(found.targets),
        f"{method}_score": pa.array(found.scores, pa.float32()),
        f"{method}_focus": pa.array(_focus(sizes), pa.float32()),
        f"{method}_x": pa.array(x, pa.float32()),
        f"{method}_y": pa.array(y, pa.float32()),
        f"{method}_map": pa.array([_thumbnail(each) for each in sizes], pa.binary()),
    }
    return pa.table(columns)


def _focus(sizes: Array) -> Array:
    """Of maps (N, H, W), the share of the sum in the largest tenth; 0 for a map of zeros."""
    flat = np.sort(sizes.reshape(len(sizes), -1).astype(np.float64), axis=1)[:, ::-1]
    total = flat.sum(axis=1)
    top = flat[:, : max(1, round(_TOP * flat.shape[1]))].sum(axis=1)
    return np.asarray(top / np.where(total > 0, total, 1))


def _centers(sizes: Array) -> tuple[Array, Array]:
    """Of maps (N, H, W), the center of gravity x and y in [0, 1]; the middle for a map of zeros."""
    weights = sizes.astype(np.float64) + (sizes.sum(axis=(1, 2), keepdims=True) == 0)
    weights /= weights.sum(axis=(1, 2), keepdims=True)
    rows, columns = ((np.arange(n) + 0.5) / n for n in sizes.shape[1:])
    return weights.sum(axis=1) @ columns, weights.sum(axis=2) @ rows


def _thumbnail(sizes: Array) -> bytes:
    scaled = torch.from_numpy(np.ascontiguousarray(sizes))[None, None].float()
    small = torch.nn.functional.interpolate(scaled, (_SIDE, _SIDE), mode="area")[0, 0].numpy()
    data = io.BytesIO()
    Image.fromarray(np.uint8(255 * small / (small.max() or 1))).save(data, "JPEG", quality=90)
    return data.getvalue()
