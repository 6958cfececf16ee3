"""Small results of every kind, made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from convscope.results import (
    Attribution,
    FeatureMaps,
    Filters,
    Neighbors,
    Prediction,
    Projection,
    Provenance,
    Result,
    Visualization,
)


def provenance(method: str = "occlusion", /, **parameters: Any) -> Provenance:
    return Provenance(method, parameters, {"name": "tiny"}, "cpu", {"convscope": "0"}, 0.5, ("a remark",))


def photos(n: int, size: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def attribution(
    values: np.ndarray, method: str = "occlusion", *, signed: bool = True, unit: str = "score", **parameters: Any
) -> Attribution:
    n = len(values)
    return Attribution(
        values=values.astype(np.float32),
        targets=("$\\cat$, felis_catus",) * n,
        scores=np.ones(n, np.float32),
        images=photos(n, values.shape[1]),
        names=tuple(f"folder/<b>$\\bad_{i}$ 猫.png" for i in range(n)),
        signed=signed,
        unit=unit,
        provenance=provenance(method, **parameters),
    )


def feature_maps(n: int = 2) -> FeatureMaps:
    rng = np.random.default_rng(1)
    values = {"conv": rng.normal(size=(n, 5, 4, 4)), "fc": rng.normal(size=(n, 7))}
    return FeatureMaps(values=values, images=photos(n), names=("a",) * n, provenance=provenance("feature_maps"))


def filters(planes: int = 3, count: int = 6, faint: int = 0) -> Filters:
    """The first ``faint`` ones have nearly no weights."""
    values = np.random.default_rng(2).normal(size=(count, planes, 3, 3)).astype(np.float32)
    values[:faint] *= 1e-6
    return Filters(values=values, layer="conv", provenance=provenance("filters"))


def neighbors(query_labels: tuple[str | None, ...] = ("a", None)) -> Neighbors:
    return Neighbors(
        indices=np.array([[0, 2], [1, 0]]),
        scores=np.array([[0.9, 0.5], [0.8, 0.1]]),
        metric="cosine",
        space="feature",
        query_names=("q0", "q1"),
        names=("n0", "n1", "n2"),
        labels=("a", None, "b"),
        query_thumbnails=photos(2),
        thumbnails=photos(3),
        query_labels=query_labels,
        provenance=provenance("neighbors"),
    )


def projection(n: int = 9, dimensions: int = 2) -> Projection:
    rng = np.random.default_rng(3)
    return Projection(
        coordinates=rng.normal(size=(n, dimensions)),
        explained_variance_ratio=np.linspace(0.5, 0.2, dimensions),
        names=("x",) * n,
        labels=tuple(f"$\\bad_{i % 3}$" if i % 4 else None for i in range(n)),
        thumbnails=photos(n),
        provenance=provenance("project", method="pca"),
    )


def visualization(frames: int = 0) -> Visualization:
    return Visualization(
        image=photos(1)[0],
        input=np.zeros((3, 12, 12), np.float32),
        scores=np.arange(5, dtype=np.float32),
        frames=photos(frames) if frames else np.zeros((0, 12, 12, 3), np.uint8),
        target="cat",
        provenance=provenance("visualize"),
    )


def prediction(n: int = 3) -> Prediction:
    scores = np.random.default_rng(4).normal(size=(n, 4))
    return Prediction(
        scores=scores, labels=("a", "b_$", "c$", "d"), names=("p",) * n, provenance=provenance("predict")
    )


def every_kind() -> list[Result]:
    noise = np.random.default_rng(5).normal(size=(2, 12, 12))
    return [
        attribution(noise),
        attribution(np.abs(noise), "saliency", signed=False),
        attribution(np.zeros((1, 12, 12))),
        attribution(np.full((1, 12, 12), 3.0), "saliency"),
        feature_maps(),
        filters(),
        filters(1),
        filters(20, 40),
        neighbors(),
        neighbors(()),
        projection(),
        projection(1, 1),
        projection(4, 3),
        prediction(),
        visualization(),
        visualization(9),
    ]
