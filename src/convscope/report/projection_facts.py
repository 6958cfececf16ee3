"""What the page of a map says of its projection, and its points as the page draws them."""

from __future__ import annotations

import numpy as np

from ..results import Array, Projection
from .wording import share

_TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def title_of(projection: Projection, n_images: int) -> str:
    return f"{n_images:,} images by {method_of(projection)}"


def method_of(projection: Projection) -> str:
    """The method of a map as people write it, such as t-SNE."""
    return _TITLES.get(str(projection.provenance.parameters.get("method")), "a projection")


def kept_of(projection: Projection) -> str:
    """The share of an image's nearest that are near on the map, such as "62 %"; empty where it is unknown."""
    return share(projection.neighbors_kept, ".0%") if np.isfinite(projection.neighbors_kept) else ""


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
        facts[f"Neighbors kept{where}"] = kept_of(projection)
    measured = projection.provenance.measured
    if "components_for_90%" in measured:
        facts["Components for 90 %"] = str(measured["components_for_90%"])
    return facts
