"""Small results of every kind, made by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from convscope.results import (
    Atlas,
    Attribution,
    ChannelPair,
    ChannelRelevance,
    Comparison,
    Concepts,
    ConceptVector,
    Duplicates,
    Evaluation,
    FeatureMaps,
    Feeds,
    Filters,
    Inversion,
    Judgment,
    MaskStudy,
    Necessity,
    Neighbors,
    Prediction,
    Projection,
    Provenance,
    Result,
    Retrieval,
    SanityCheck,
    StoreComparison,
    Suspects,
    TrainingStrip,
    UnitPage,
    UnitPatches,
    UnitScan,
    Visualization,
)
from convscope.results.rank_statistics import aurocs


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


def suspects(kind: str = "label", n: int = 3) -> Suspects:
    names = tuple(f"folder/<b>$bad_{i} 猫.png" for i in range(n))
    return Suspects(
        kind=kind,
        names=names,
        labels=("$a_", "b, bee", None)[:n],
        suggested=("b, bee" if kind == "label" else None, None, None)[:n],
        scores=np.linspace(0.9, 0.1, n, dtype=np.float32),
        near=np.array([[1, 0]] * n),
        similarity=np.full((n, 2), 0.5, np.float32),
        near_names=("n0", "n1"),
        near_labels=("$a_", "b, bee"),
        thumbnails=photos(n),
        near_thumbnails=photos(2),
        by_neighbors=np.linspace(0.9, 0.1, n, dtype=np.float32),
        by_linear=np.linspace(0.8, 0.2, n, dtype=np.float32),
        by_network=np.full(n, np.nan, np.float32),
        predicted=("tabby", None, "$x_")[:n],
        probability=np.array([0.5, np.nan, 0.25], np.float32)[:n],
        provenance=provenance("suspects"),
    )


def duplicates(sizes: tuple[int, ...] = (9, 2)) -> Duplicates:
    """The first two of each group are the same file."""
    n = sum(sizes)
    starts = np.cumsum((0, *sizes))[:-1].astype(np.int64)
    return Duplicates(
        pairs=np.column_stack([starts, starts + 1]),
        scores=np.ones(len(sizes), np.float32),
        is_copy=np.ones(len(sizes), bool),
        is_equal=np.ones(len(sizes), bool),
        n_pairs=len(sizes),
        n_equal=len(sizes),
        metric="cosine",
        threshold=0.9,
        names=tuple(f"folder/<b>$bad_{i} 猫.png" for i in range(n)),
        labels=("$a_",) * n,
        thumbnails=photos(n),
        sizes=np.array(sizes, np.int64),
        content=np.array([i - (i - 1 in starts) for i in range(n)], np.int64),
        n_pixels=np.arange(n, dtype=np.int64) * 300_000,
        n_bytes=np.arange(n, dtype=np.int64) * 1000,
        is_other=np.zeros(n, bool),
        provenance=provenance("duplicates"),
    )


def retrieval() -> Retrieval:
    """Four images in two classes; the first query has only wrong neighbors."""
    rng = np.random.default_rng(10)
    return Retrieval(
        spaces=("feature", "pixel", "chance"),
        classes=("$a_", "b, bee"),
        counts=np.array([2, 2]),
        accuracy=rng.random((3, 2)),
        precision=rng.random((3, 2)),
        average_precision=rng.random((3, 2)),
        confusion=np.array([[1, 1], [0, 2]]),
        worst=np.array([0, 3]),
        worst_neighbors=np.array([[2, 3], [2, 0]]),
        worst_shares=np.array([0.0, 0.5]),
        k=2,
        metric="cosine",
        names=tuple(f"<b>$bad_{i} 猫.png" for i in range(4)),
        labels=("$a_", "$a_", "b, bee", "b, bee"),
        thumbnails=photos(4),
        provenance=provenance("evaluate_retrieval"),
    )


def store_comparison(n_pictures: int = 5) -> StoreComparison:
    """Five images of two classes and one without a label, two neighbors of each."""
    rng = np.random.default_rng(11)
    return StoreComparison(
        encoders=("<b>$a_", "b, 猫"),
        names=tuple(f"<b>$bad_{i} 猫.png" for i in range(5)),
        labels=("$a_", "$a_", "b, bee", "b, bee", None),
        queries=np.arange(5),
        neighbors_a=np.array([[1, 2], [0, 3], [3, 4], [2, 1], [0, 2]]),
        neighbors_b=np.array([[3, 2], [0, 3], [0, 1], [2, 4], [3, 2]]),
        shared=np.array([0.5, 1, 0, 0.5, 0.5], np.float32),
        chance=0.5,
        classes=("$a_", "b, bee"),
        voted=np.array([[0, 0, 1, 1, 0], [1, 0, 0, 1, 1]]),
        cka=0.7,
        cka_unbiased=-0.1,
        coordinates=rng.normal(size=(2, 5, 2)),
        disparity=0.4,
        changed=np.array([2, 0]),
        shown=np.arange(5),
        thumbnails=photos(5)[:n_pictures],
        metric="cosine",
        provenance=provenance("compare_stores", method="pca"),
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
        evidence=(Judgment("net_$", "cat", 0.9, 0.9), Judgment("judge", "dog", 0.5, 0.25)),
        provenance=provenance("visualize"),
    )


def accentuated() -> Visualization:
    return dataclasses.replace(visualization(), original=photos(2)[1])


def inversion() -> Inversion:
    rng = np.random.default_rng(5)
    return Inversion(
        layers=("stem", "blocks.$1_0"),
        images=photos(2),
        original=photos(3)[2],
        errors=np.array([0.01, 0.4], np.float32),
        distances=np.array([0.1, 1.2], np.float32),
        curves=rng.random((2, 5)).astype(np.float32),
        name="folder/<b>$\\bad_0$ 猫.png",
        provenance=provenance("invert"),
    )


def atlas(n: int = 5) -> Atlas:
    return Atlas(
        layer="blocks.$1_0",
        channels=np.arange(n) * 3,
        images=photos(n),
        scores=np.ones(n, np.float32),
        n_channels=999,
        provenance=provenance("atlas"),
    )


def prediction(n: int = 3) -> Prediction:
    scores = np.random.default_rng(4).normal(size=(n, 4))
    return Prediction(
        scores=scores, labels=("a", "b_$", "c$", "d"), names=("p",) * n, provenance=provenance("predict")
    )


def evaluation(kind: type[Evaluation] = Evaluation, *, n: int = 3, steps: int = 5, **more: Any) -> Evaluation:
    """Two methods and the controls by three measures; the second measure is not there for the first method."""
    rng = np.random.default_rng(6)
    values = rng.random((4, 3, n))
    values[0, 1] = np.nan
    return kind(
        methods=("grad_$cam", "lime", "random", "center"),
        measures=("deletion_mean", "completeness_error", "sparseness"),
        higher_is_better=(False, False, True),
        units=("score", "share of the score's change", "Gini index"),
        values=values,
        means=values.mean(axis=2),
        margins=np.full((4, 3), 0.1 if n > 1 else np.nan),
        gains=rng.normal(size=(4, 3)),
        gain_margins=np.full((4, 3), 0.1 if n > 1 else np.nan),
        curves=rng.random((4, 4, n, steps)),
        curve_names=("deletion_mean", "deletion_blur", "insertion_mean", "insertion_blur"),
        seconds=np.array([0.5, 2.0, np.nan, np.nan]),
        names=("<b>$\\bad$ 猫.png",) * n,
        targets=("$\\cat$, felis_catus",) * n,
        provenance=provenance("evaluate"),
        **more,
    )


def comparison(n: int = 3) -> Comparison:
    found = evaluation(
        Comparison,
        n=n,
        ranking=("lime", "grad_$cam"),
        advantage=np.array([0.1, 0.3, 0.0, 0.1]),
        advantage_margins=np.full(4, 0.1 if n > 1 else np.nan),
        tied=("lime",),
        verdict="lime is the best of $two_methods$",
        maps=np.random.default_rng(7).normal(size=(2, min(n, 2), 12, 12)),
        images=photos(min(n, 2)),
        signed=(False, True),
        left_out=("rise: not finished",),
    )
    assert isinstance(found, Comparison)
    return found


def sanity_check(stages: int = 3, labels: int = 2) -> SanityCheck:
    rng = np.random.default_rng(8)
    return SanityCheck(
        checked="grad_$cam",
        stages=tuple(f"blocks.{i}.$conv_{i}" for i in range(stages)),
        cascading=rng.random((stages, 2)),
        independent=rng.random((stages, 2)),
        labels=rng.random((labels, 2)),
        label_names=("dog, $canis",) * labels,
        maps=rng.normal(size=(stages + 1, 12, 12)),
        image=photos(1)[0],
        name="<b>$bad_猫.png",
        target="$cat",
        signed=True,
        passes_weights=None,
        passes_labels=None if not labels else False,
        verdict="it is $doubtful_",
        provenance=provenance("sanity_check"),
    )


def mask_study(n: int = 2) -> MaskStudy:
    rng = np.random.default_rng(9)
    settings = [(w, s, b) for w in (4, 8) for s in ("rectangle", "ellipse") for b in ("mean", "$im_age")]
    return MaskStudy(
        windows=tuple(w for w, _, _ in settings),
        shapes=tuple(s for _, s, _ in settings),
        baselines=tuple(b for _, _, b in settings),
        maps=rng.normal(size=(8, n, 12, 12)),
        deletion=rng.random((8, n)),
        insertion=rng.random((8, n)),
        agreement=rng.random(8),
        alike=rng.random((8, 8)),
        resolution_px=np.full(8, 4.0),
        n_masks=np.full(8, 9),
        seconds=np.full(8, 0.1),
        recommended=3,
        reason="4 px ellipse over $im_age: best insertion minus deletion (0.100), not stable",
        sign_varies=rng.random((n, 12, 12)) > 0.5,
        images=photos(n),
        names=("<b>$bad_猫.png",) * n,
        targets=("$cat",) * n,
        provenance=provenance("mask_study"),
    )


def training_strip(moments: int = 3, n: int = 2, filters: int = 4, classes: int = 2) -> TrainingStrip:
    rng = np.random.default_rng(11)
    return TrainingStrip(
        steps=np.arange(moments) * 100,
        maps=rng.normal(size=(moments, n, 12, 12)),
        targets=("$\\cat$, felis_catus",) * (moments * n),
        scores=rng.normal(size=(moments, n)),
        images=photos(n),
        names=tuple(f"folder/<b>$\\bad_{i}$ 猫.png" for i in range(n)),
        unit="score",
        signed=True,
        filters=rng.normal(size=(moments, filters, 3, 3, 3)),
        layer="conv_$1",
        pictures=photos(moments * classes).reshape(moments, classes, 12, 12, 3),
        classes=("dog, $canis",) * classes,
        provenance=provenance("watch", method="grad_cam"),
    )


def unit_scan(n_labels: int = 2, *, n_images: int = 12) -> UnitScan:
    rng, labels = np.random.default_rng(6), tuple(f"label {i}" for i in range(n_labels))
    peaks = np.maximum(rng.normal(size=(n_images, 5)), 0).astype(np.float32)
    peaks[:, 2] = 0
    codes = np.arange(n_images) % n_labels if n_labels else np.full(n_images, -1)
    order = np.argsort(-peaks, axis=0, kind="stable").T[:, :4]
    quantiles = np.quantile(peaks, [0, 1], axis=0).T
    tables = {"high": order, "low": order[:, ::-1], "middle": order, "quantiles": quantiles, "peaks": peaks}
    tables |= {f"{name}_places": np.zeros_like(order) for name in ("high", "low", "middle")}
    tables |= {"histograms": np.ones((5, 3), np.int64), "edges": np.ones((5, 4)), "means": peaks.mean(axis=0)}
    tables |= {"label_means": np.ones((5, n_labels)), "silent_places": (peaks <= 0).mean(axis=0)}
    tables |= {"silent_images": (peaks <= 0).mean(axis=0), "areas": aurocs(peaks.T, codes, n_labels)}
    tables |= {"covariances": np.cov(peaks.T).astype(np.float32), "sides": np.array([3, 3])}
    return UnitScan(
        names=tuple(f"{i}.png" for i in range(n_images)),
        labels=labels,
        image_labels=tuple(labels[code] if code >= 0 else None for code in codes),
        layers=("conv",),
        input_shape=(3, 12, 12),
        levels=np.array([0, 1]),
        pixels={"conv": np.array([[0, 4, 4.0], [0, 4, 4]])},
        provenance=provenance("scan"),
        **{name: {"conv": values} for name, values in tables.items()},
    )


def necessity(n_channels: int = 3, n_classes: int = 2) -> Necessity:
    """The second channel lowers the score of the first class."""
    return Necessity(
        layer="conv",
        channels=np.arange(n_channels) + 2,
        means=np.ones(n_channels, np.float32),
        classes=tuple(f"class $_{i}" for i in range(n_classes)),
        by="labels" if n_classes > 1 else "predictions",
        counts=np.full(n_classes, 10),
        effects=np.random.default_rng(13).normal(size=(n_channels, n_classes)).astype(np.float32),
        right=np.full(n_classes, 8),
        right_without=np.arange(n_channels * n_classes).reshape(n_channels, n_classes) % 10,
        names=tuple(f"{i}.png" for i in range(20)),
        provenance=provenance("necessity"),
    )


def feeds(n_channels: int = 2, n_sources: int = 12) -> Feeds:
    rng = np.random.default_rng(14)
    return Feeds(
        layer="conv",
        convolution="conv",
        source="relu",
        sources=("relu", "bn"),
        channels=np.arange(n_channels),
        weights=rng.normal(size=(n_channels, n_sources)) * (n_sources > 1),
        means=rng.random(n_sources),
        biases=rng.normal(size=n_channels),
        provenance=provenance("feeds"),
    )


def unit_patches(n: int = 5) -> UnitPatches:
    return UnitPatches(
        layer="conv",
        channel=1,
        which="top",
        field="exact",
        names=tuple(f"{i}.png" for i in range(n)),
        labels=("cat", *[None] * (n - 1)),
        values=np.arange(n, 0, -1).astype(np.float32),
        positions=np.ones((n, 2), np.int64),
        boxes=np.array([[0, 2, 4, 8]] + [[2, 2, 8, 8]] * (n - 1)),
        images=np.random.default_rng(7).integers(0, 256, (n, 12, 12, 3), np.uint8),
        provenance=provenance("unit_patches"),
    )


def unit_page(n: int = 5, *, is_bare: bool = False) -> UnitPage:
    """``is_bare``: of a constant channel in a vector layer, without labels and all that may be missing."""
    patches, scanned = unit_patches(n), unit_scan(0 if is_bare else 2)
    maps = np.zeros((n, 0, 0)) if is_bare else np.random.default_rng(12).normal(size=(n, 3, 3))
    return UnitPage(
        layer="$conv_1$",
        channel=0,
        n_images=12,
        top=patches,
        middle=patches,
        low=patches,
        firing={"top": maps} if is_bare else {"top": maps, "relevant": maps},
        threshold=0.5,
        labels=() if is_bare else ("dog, $canis", "<b>$\\bad$ 猫"),
        areas=np.zeros(0) if is_bare else np.array([0.9, 0.1]),
        histogram=np.ones(3, np.int64),
        edges=np.ones(4) if is_bare else np.arange(4.0),
        nearest=() if is_bare else tuple(ChannelPair(0, i, 1 - i, 2.0) for i in (1, 3)),
        silent_images=float(is_bare),
        silent_places=float(is_bare),
        relevant=None if is_bare else patches,
        visualization=None if is_bare else visualization(),
        necessity=None if is_bare else dataclasses.replace(necessity(1), channels=np.array([0])),
        feeds=None if is_bare else feeds(1),
        left_out=("relevance: $no_ rule",) if is_bare else (),
        provenance=scanned.provenance,
    )


def concepts(k: int = 3, n: int = 4, *, given: bool = False) -> Concepts:
    """The second one lowers the score."""
    rng = np.random.default_rng(12)
    return Concepts(
        basis=rng.random((k, 5)).astype(np.float32),
        importance=np.linspace(0.6, 0.001, k),
        importances=rng.random((n, k)),
        effect=np.where(np.arange(k) == 1, -0.5, 2.0),
        stability=np.full(k, np.nan if given else 0.9),
        maps=rng.random((n, k, 4, 4)).astype(np.float32),
        crops=photos(k * 2, 5).reshape(k, 2, 5, 5, 3),
        crop_strengths=rng.random((k, 2)),
        crop_names=(("<b>$bad_猫.png", "b.png"),) * k,
        images=photos(min(n, 3)),
        shown=np.arange(min(n, 3)),
        layer="blocks.$1_",
        factoring="dictionary" if given else "nmf",
        error=0.4,
        targets=("$\\cat$, felis_catus",) * n if not given else tuple("abcd"[:n]),
        scores=rng.normal(size=n).astype(np.float32),
        names=tuple(f"folder/<b>$\\bad_{i}$ 猫.png" for i in range(n)),
        provenance=provenance("concepts"),
    )


def concept_vector() -> ConceptVector:
    rng = np.random.default_rng(13)
    return ConceptVector(
        vector=rng.normal(size=6),
        offset=0.5,
        layer="4",
        places="mean",
        accuracy=0.9,
        random_accuracy=rng.random(5),
        accuracy_p=1 / 6,
        tcav=np.array([0.8]),
        random_tcav=rng.random((5, 1)),
        tcav_p=np.array([0.4]),
        derivatives=rng.normal(size=(3, 1)),
        targets=("$\\cat$, felis_catus",),
        names=("a",) * 3,
        provenance=provenance("concept_vector"),
    )


def channel_relevance() -> ChannelRelevance:
    return ChannelRelevance(
        values=np.random.default_rng(14).normal(size=(3, 5)).astype(np.float32),
        layer="4",
        targets=("cat",) * 3,
        scores=np.ones(3, np.float32),
        names=("a", "b", "c"),
        provenance=provenance("channel_relevance"),
    )


def every_kind() -> list[Result]:
    noise = np.random.default_rng(5).normal(size=(2, 12, 12))
    return [
        attribution(noise),
        attribution(np.abs(noise), "saliency", signed=False),
        attribution(np.zeros((1, 12, 12))),
        attribution(np.full((1, 12, 12), 3.0), "saliency"),
        comparison(),
        comparison(1),
        concepts(),
        concepts(12, 1, given=True),
        evaluation(),
        evaluation(n=1, steps=0),
        feature_maps(),
        feeds(),
        feeds(9),
        feeds(1, 1),
        filters(),
        filters(1),
        filters(20, 40),
        mask_study(),
        mask_study(1),
        necessity(),
        necessity(1),
        necessity(20, 9),
        necessity(1, 1),
        neighbors(),
        neighbors(()),
        projection(),
        projection(1, 1),
        projection(4, 3),
        prediction(),
        retrieval(),
        store_comparison(),
        store_comparison(0),
        *(suspects(kind) for kind in ("label", "outlier", "uncertain")),
        suspects(n=1),
        duplicates(),
        duplicates(()),
        sanity_check(),
        sanity_check(1, 0),
        unit_page(),
        unit_page(1, is_bare=True),
        unit_patches(),
        unit_patches(1),
        unit_scan(),
        unit_scan(0),
        training_strip(),
        training_strip(1, 1, 0, 0),
        visualization(),
        visualization(9),
        accentuated(),
        inversion(),
        atlas(),
        atlas(40),
    ]
