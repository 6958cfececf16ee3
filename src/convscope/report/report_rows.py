"""The rows behind a report as JSON: all of them, also those that the page leaves out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ..outputs import GENERATOR
from ..results import CONTROLS, Attribution, Evaluation, Neighbors, Prediction, Suspects
from .collection import Collection
from .contents import Contents
from .labeled_rows import LabeledRows

Row = dict[str, Any]
_RANKS = 5


def rows_as_json(contents: Contents) -> str:
    """Everything that the page tells, with the names of files as they were given."""
    origin = contents.prediction.provenance
    found: Row = {
        "generator": GENERATOR,
        "model": dict(origin.model),
        "seconds": contents.seconds,
        "images": _images(contents.prediction, contents.labels),
        "maps": [row for one in contents.attributions for row in _maps(one, contents.evidence)],
    }
    if contents.collection is not None:
        found |= _collection(contents.collection)
    return json.dumps(_plain(found), indent=1, allow_nan=False) + "\n"


def _images(prediction: Prediction, labels: Mapping[str, str | None]) -> list[Row]:
    return [
        {"name": name, "label": labels.get(name), "predicted": [one._asdict() for one in ranked]}
        for name, ranked in zip(prediction.names, prediction.top(_RANKS), strict=True)
    ]


def _maps(result: Attribution, evidence: Evaluation | None) -> list[Row]:
    """One row for each map: what it explains, and its measures beside those of a random map."""
    method = result.provenance.method
    rows: list[Row] = [
        {"name": name, "method": method, "target": target, "score": float(score)}
        for name, target, score in zip(result.names, result.targets, result.scores, strict=True)
    ]
    if evidence is not None:
        for kind in ("insertion", "deletion"):
            areas = evidence.areas(kind)
            for key, of in ((kind, method), (f"random_{kind}", CONTROLS[0])):
                for row, value in zip(rows, areas[evidence.methods.index(of)].tolist(), strict=True):
                    row[key] = value
    return rows


def _collection(collection: Collection) -> Row:
    rows = collection.rows
    is_judged = rows.verdicts is not None
    return {
        "collection": {
            "count": collection.count,
            "n_judged": rows.n_judged,
            "n_right": rows.n_right,
            "accuracy": rows.n_right / rows.n_judged if rows.n_judged else None,
            "neighbors_with_label": collection.precision and collection.precision[0],
            "skipped": list(collection.skipped),
        },
        "classes": [one.__dict__ | {"accuracy": one.n_right / one.n_judged if one.n_judged else None}
                    for one in rows.classes],
        "confusions": [{"label": a, "predicted": b, "count": n} for a, b, n in rows.confusions],
        "errors": [_row(rows, i) for i in rows.errors] if is_judged else None,
        "suspects": _suspects(collection.suspects) if collection.suspects is not None else None,
        "duplicates": collection.duplicates.groups if collection.duplicates is not None else None,
        "neighbors": [row for pair in collection.nearest for one in pair for row in _neighbors(one)],
        "projection": [
            {"name": name, "label": label, "at": place}
            for name, label, place in zip(
                collection.projection.names,
                collection.projection.labels,
                collection.projection.coordinates.tolist(),
                strict=True,
            )
        ],
    }  # fmt: skip


def _row(rows: LabeledRows, i: int) -> Row:
    return {
        "name": rows.names[i],
        "label": rows.labels[i],
        "predicted": rows.predicted[i],
        "probability": float(rows.probability[i]),
    }


def _suspects(found: Suspects) -> list[Row]:
    return [
        {"name": name, "label": label, "suggested": suggested, "score": float(score)}
        for name, label, suggested, score in zip(
            found.names, found.labels, found.suggested, found.scores, strict=True
        )
    ]


def _neighbors(found: Neighbors) -> list[Row]:
    return [
        {
            "query": query,
            "space": found.space,
            "rank": rank,
            "name": found.names[at],
            "label": found.labels[at],
            "score": float(score),
        }
        for query, near, scores in zip(found.query_names, found.indices, found.scores, strict=True)
        for rank, (at, score) in enumerate(zip(near, scores, strict=True), start=1)
    ]


def _plain(value: Any) -> Any:
    """As JSON takes it: null for what is no number."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
