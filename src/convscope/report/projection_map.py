"""The map of a projection as a page: what a projection knows by itself, without the store it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..results import Array, Projection
from ..store.thumbnails import encode
from .map_data import MapData
from .map_page import map_page
from .short_paths import without_common_folder
from .wording import share

BYTE_BUDGET = 20_000_000
_TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def projection_map(projection: Projection, output: Path) -> Path:
    """Write map.html for a projection that has thumbnails. Names are shown without the folder that all share.

    Which images are nearest in the vectors is not in the page, as the vectors are not in a projection.

    Returns:
        The path of the file, of about 20 MB at most.

    Raises:
        OutputError: the file cannot be written.
    """
    points = MapData(
        coordinates=plane(projection.coordinates),
        names=without_common_folder(projection.names),
        labels=projection.labels,
        thumbnails=[encode(one) for one in projection.thumbnails],
        title=title_of(projection, len(projection.names)),
        subtitle=str(projection.provenance.model.get("name", "")),
        facts=facts_of(projection),
    )
    return map_page(points, output, byte_budget=BYTE_BUDGET)


def title_of(projection: Projection, n_images: int) -> str:
    method = str(projection.provenance.parameters.get("method"))
    return f"{n_images:,} images by {_TITLES.get(method, 'a projection')}"


def plane(coordinates: Array) -> Array:
    """The first two dimensions; if there is only one, the second is zero."""
    flat = np.zeros((len(coordinates), 2), np.float32)
    flat[:, : min(2, coordinates.shape[1])] = coordinates[:, :2]
    return flat


def facts_of(projection: Projection) -> dict[str, str]:
    facts = {}
    n_dims = projection.coordinates.shape[1]
    where = "" if n_dims <= 2 else f" in all {n_dims} dimensions"  # the page shows two of them
    ratios = projection.explained_variance_ratio[:2]
    if np.isfinite(ratios).all():
        facts["Variance kept"] = share(float(ratios.sum()), ".1%")
    if np.isfinite(projection.trustworthiness):
        facts[f"Trustworthiness{where}"] = share(projection.trustworthiness, ".2f")
        facts[f"Neighbors kept{where}"] = share(projection.neighbors_kept, ".0%")
    measured = projection.provenance.measured
    if "components_for_90%" in measured:
        facts["Components for 90 %"] = str(measured["components_for_90%"])
    return facts
