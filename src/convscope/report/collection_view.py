"""What the template shows of a collection: errors, class by class, nearest images in both spaces, and the map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..render import data_uri, image_uri, neighbor_rows, query_label
from ..results import Array, Attribution, Neighbors
from ..store.keys import path_of
from .collection import Collection
from .fault_views import duplicate_views, over_photo, suspect_views
from .labeled_rows import ClassRow, LabeledRows
from .limits import Limits
from .projection_facts import kept_of, method_of
from .wording import caption, number, share

View = dict[str, Any]

MOST_IN_MATRIX = 20  # labels; of more the most frequent confusions alone are told
CONFUSIONS = 12


def collection_view(
    collection: Collection,
    errors: Attribution | None,
    suspects: Attribution | None,
    limits: Limits,
    names: Mapping[str, str],
) -> View:
    """Everything that the sections on a collection show.

    ``errors`` and ``suspects`` are maps of these; ``names`` are those that the page shows.
    """
    feature, pixel = collection.nearest[-1]
    projection = collection.projection
    kept = float(projection.explained_variance_ratio[:2].sum())
    rows = collection.rows
    return {
        "count": collection.count,
        "k": feature.indices.shape[1],
        "has_labels": rows.has_labels,
        "metric": feature.metric,
        "precision": [percent(one) for one in collection.precision or ()],
        "queries": [query for pair in collection.nearest for query in _queries(*pair, names)],
        "captions": [*caption(feature), *caption(pixel)],
        "projection": data_uri(projection),
        "kept": number(100 * kept, ".1f"),
        "method": method_of(projection),
        "is_bent": not math.isfinite(kept),
        "neighbors_kept": kept_of(projection),
        "projection_caption": caption(projection),
        "accuracy": percent(rows.n_right / rows.n_judged) if rows.n_judged else None,
        "n_judged": rows.n_judged,
        "n_errors": len(rows.errors),
        "errors": _error_cards(collection, errors, limits.n_errors, names),
        "errors_are_signed": errors is not None and errors.signed,
        "errors_caption": caption(errors) if errors is not None else (),
        "classes": [_class(one, collection, names) for one in rows.classes],
        "has_answers": any(one.answers for one in rows.classes),
        "has_agreement": any(math.isfinite(one.neighbors_agree) for one in rows.classes),
        "confusions": [{"label": a, "predicted": b, "count": n} for a, b, n in rows.confusions[:CONFUSIONS]],
        "n_confusions": len(rows.confusions),
        "matrix": _matrix(rows),
        "left_out": collection.left_out,
        **suspect_views(collection.suspects, limits.n_suspects, suspects, names),
        **duplicate_views(collection.duplicates, limits.n_duplicates, names),
    }


def percent(value: float) -> str:
    """A share in percent, as a sentence has it."""
    return share(value, ".0%").replace("%", " %")


def _error_cards(
    collection: Collection, errors: Attribution | None, n: int, names: Mapping[str, str]
) -> list[View]:
    """Each error with its label, its prediction, and where there is one a map of what speaks for it."""
    rows = collection.rows
    over = over_photo(errors)
    cards = []
    for i in rows.errors[:n]:
        name = rows.names[i]
        cards.append(
            {
                "name": names[name],
                "label": rows.labels[i],
                "predicted": rows.predicted[i],
                "percent": number(100 * float(rows.probability[i]), ".0f"),
                "photo": _thumbnail(collection.thumbnails, name),
                **over(path_of(name)),
            }
        )
    return cards


def _class(one: ClassRow, collection: Collection, names: Mapping[str, str]) -> View:
    examples = [collection.rows.names[i] for i in one.examples]
    pictures = [(names[name], _thumbnail(collection.thumbnails, name)) for name in examples]
    return {
        "label": one.label,
        "count": one.count,
        "pictures": [(name, uri) for name, uri in pictures if uri],
        "n_judged": one.n_judged,
        "right": percent(one.n_right / one.n_judged) if one.n_judged else None,
        "width": f"{100 * one.n_right / one.n_judged:.1f}" if one.n_judged else "0",
        "answers": [{"name": name.partition(",")[0], "count": count} for name, count in one.answers],
        "agree": percent(one.neighbors_agree) if math.isfinite(one.neighbors_agree) else None,
        "agree_width": f"{100 * one.neighbors_agree:.1f}" if math.isfinite(one.neighbors_agree) else "0",
    }


def _matrix(rows: LabeledRows) -> View | None:
    """Labels by predictions as counts; predictions that are no label share the last column."""
    labels = [one.label for one in sorted(rows.classes, key=lambda one: one.label) if one.n_judged]
    if not 2 <= len(labels) <= MOST_IN_MATRIX:
        return None
    wrong = {(a, b): n for a, b, n in rows.confusions}
    right = {one.label: one.n_right for one in rows.classes}
    totals = {one.label: one.n_judged for one in rows.classes}
    table = []
    for label in labels:
        counts = [right[label] if other == label else wrong.get((label, other), 0) for other in labels]
        counts.append(totals[label] - sum(counts))
        table.append(counts)
    has_others = any(counts[-1] for counts in table)
    columns = [*labels, "another class"] if has_others else labels
    return {
        "labels": labels,
        "columns": columns,
        "rows": [
            [
                {"count": n, "shade": f"{n / max(1, totals[label]):.2f}", "is_right": other == label}
                for n, other in zip(counts, columns, strict=False)
            ]
            for label, counts in zip(labels, table, strict=True)
        ],
    }


def _queries(feature: Neighbors, pixel: Neighbors, names: Mapping[str, str]) -> list[View]:
    """Each query with its nearest images in feature space and in pixel space."""
    spaces = (("as the network sees it", feature), ("by plain pixels", pixel))
    rows = [(name, result, neighbor_rows(result)) for name, result in spaces]
    return [
        {
            "name": names[feature.query_names[q]],
            "label": query_label(feature, q) or "",
            "uri": image_uri(feature.query_thumbnails[q], "jpeg"),
            "spaces": [
                {"name": name, "neighbors": [_neighbor(result, one, names[one.name]) for one in found[q]]}
                for name, result, found in rows
            ],
        }
        for q in range(len(feature.indices))
    ]


def _neighbor(result: Neighbors, one: Any, name: str) -> View:
    return {
        "name": one.label or name,
        "score": number(one.score, ".3f"),
        "is_wrong": one.is_wrong,
        "uri": image_uri(result.thumbnails[one.row], "jpeg"),
        "alt": f"{name}{', label ' + one.label if one.label else ''}",
    }


def _thumbnail(thumbnails: Mapping[str, Array], name: str) -> str | None:
    picture = thumbnails.get(name)
    return None if picture is None else image_uri(picture, "jpeg")


def chunks(cards: Sequence[View], size: int) -> list[tuple[int, int, Sequence[View]]]:
    """Cards in groups of a size, each with the numbers of its first and its last card, from 1."""
    return [(i + 1, min(i + size, len(cards)), cards[i : i + size]) for i in range(0, len(cards), size)]
