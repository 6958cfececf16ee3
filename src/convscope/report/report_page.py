"""The report as HTML: what its template shows, section by section."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..embedding.label_checks import NOT_JUDGED, RIGHT, WRONG, verdicts
from ..render import filter_summary, filter_tiles, image_uri, is_faint
from ..results import Visualization
from .collection_view import chunks, collection_view
from .contents import Contents
from .image_views import badge, kind_of, layer_views, map_views, method_view, photo_uri
from .short_paths import without_common_folder, without_folders
from .templates import REPORT_SCRIPT, template, with_script
from .unit_views import unit_views
from .wording import caption, number

View = dict[str, Any]


def page(contents: Contents, map_file: str | None = None) -> str:
    """The whole page, as HTML; ``map_file`` is the name of a file beside it with the collection's map."""
    names, judged = _names(contents), _judged(contents)
    collection = contents.collection
    return template("report.html.jinja").render(
        **with_script(REPORT_SCRIPT),
        facts=_facts(contents),
        title=_title(contents),
        left_out=max(0, contents.n_given - contents.limits.n_images),
        n_given=contents.n_given,
        skipped=_skipped(contents),
        images=[_image(contents, n, judged, names) for n in range(len(contents.prediction.names))],
        are_examples=contents.n_given == 0,
        of_values=contents.prediction.are_values,
        prediction_caption=caption(contents.prediction),
        maps_caption=caption(contents.maps) if contents.maps else (),
        filters=_filters(contents),
        visualizations=[_visualization(v) for v in contents.visualizations],
        n_targets=contents.n_targets,
        units=unit_views(contents.units),
        is_alone=False,
        methods=[method_view(result) for result in contents.attributions],
        left_out_methods=contents.left_out,
        collection=collection_view(collection, contents.errors, contents.suspects, contents.limits, names)
        if collection
        else None,
        map_file=map_file,
        chunks=chunks,
    )


def _title(contents: Contents) -> str:
    """What the page is about: a collection as a network sees it, or the network."""
    network = contents.prediction.provenance.model.get("name", "a network")
    if contents.n_given == 0 and contents.collection is not None and contents.collection.name:
        return f"{contents.collection.name}, as {network} sees it"
    return f"Inside {network}"


def _names(contents: Contents) -> dict[str, str]:
    """How the page names each image: seen from the folder of the collection, or from that of the given images."""
    names, collection = set(contents.prediction.names), contents.collection
    known: dict[str, str] = {}
    if collection is not None:
        known = dict(zip(collection.projection.names, collection.map_names, strict=True))
        names |= {name for found, _ in collection.nearest for name in found.query_names}
    others = sorted(names - known.keys())
    return known | dict(zip(others, without_common_folder(others), strict=True))


def _judged(contents: Contents) -> list[int]:
    """Whether each prediction is right, 1, or wrong, 0; -1 where labels are no classes."""
    prediction = contents.prediction
    labels = [contents.labels.get(name) for name in prediction.names]
    if prediction.are_values:
        return [NOT_JUDGED] * len(labels)
    top: list[str | None] = [ranked[0].label for ranked in prediction.top(1)]
    if contents.collection is not None:  # many images tell better than a few whether labels are classes
        rows = contents.collection.rows
        found = verdicts([*labels, *rows.labels], [*top, *rows.predicted])
    else:
        found = verdicts(labels, top)
    return [NOT_JUDGED] * len(labels) if found is None else found[: len(labels)].tolist()


def _facts(contents: Contents) -> list[tuple[str, str]]:
    """The header: which network, which images, how and when."""
    origin = contents.prediction.provenance
    facts = [
        ("Network", str(origin.model.get("name"))),
        ("Weights", f"SHA-256 {str(origin.model.get('weights_sha256'))[:12]}"),
        ("Preprocessing", _preprocessing(origin.model.get("preprocessing"))),
    ]
    n_shown, n_given = len(contents.prediction.names), contents.n_given
    facts.append(("Images", f"{n_shown} shown of {n_given} given" if n_given else f"{n_shown} examples"))
    if contents.collection is not None:
        name = f"{contents.collection.name}, " if contents.collection.name else ""
        facts.append(("Collection", f"{name}{contents.collection.count} images"))
    return [
        *facts,
        ("Device", origin.device),
        ("Versions", ", ".join(f"{name} {version}" for name, version in origin.versions.items())),
        ("Made", f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}, in {contents.seconds:.1f} s"),
    ]


def _preprocessing(steps: Any) -> str:
    if not steps:
        return "done by the caller"
    height, width = steps["input_size"]
    rows, columns = steps["resize_px"]
    mean, std = (" ".join(f"{value:.3g}" for value in steps[key]) for key in ("mean", "std"))
    if steps["crop"] == "squash":
        return f"resized to {height}×{width} ({steps['interpolation']}); mean {mean}; std {std}"
    resized = f"resized to cover {rows}×{columns} ({steps['interpolation']}), center crop {height}×{width}"
    return f"{resized}; mean {mean}; std {std}"


def _skipped(contents: Contents) -> list[str]:
    """The images that could not be read, and why; each once."""
    found = list(contents.prediction.provenance.skipped)
    if contents.collection is not None:
        found += contents.collection.skipped
    return without_folders(dict.fromkeys(found))


def _image(contents: Contents, n: int, judged: list[int], names: Mapping[str, str]) -> View:
    name = contents.prediction.names[n]
    are_values = contents.prediction.are_values
    top = [
        {
            "label": entry.label,
            "percent": None if are_values else number(100 * entry.probability, ".1f"),
            "width": f"{100 * entry.probability:.2f}" if math.isfinite(entry.probability) else "0",
            "score": number(entry.score, ".6g" if are_values else ".2f"),
        }
        for entry in contents.prediction.top(5)[n]
    ]
    return {
        "name": names[name],
        "label": contents.labels.get(name),
        "verdict": {RIGHT: "right", WRONG: "wrong"}.get(judged[n], ""),
        "photo": photo_uri(contents.attributions[0], n),
        "is": kind_of(contents.attributions[0].images[n]),
        "top": top,
        "maps": [
            view | {"badge": badge(contents.evidence, result, n)}
            for result in contents.attributions
            for view in map_views(result, n)
        ],
        "layers": layer_views(contents.maps, n) if contents.maps else [],
    }


def _filters(contents: Contents) -> View | None:
    if contents.filters is None:
        return None
    names, tiles = filter_tiles(contents.filters)
    return {
        "layer": contents.filters.layer,
        "summary": filter_summary(contents.filters, len(names)),
        "tiles": [{"name": name, "uri": image_uri(tile)} for name, tile in zip(names, tiles, strict=True)],
        "caption": caption(contents.filters),
        "n_faint": int(is_faint(contents.filters).sum()),
        "is_color": contents.filters.values.shape[1] == 3,
    }


def _visualization(result: Visualization) -> View:
    scores = [float(score) for score in result.scores if math.isfinite(score)]
    return {
        "target": result.target,
        "uri": image_uri(result.image, "jpeg"),
        "first": number(scores[0], ".2f") if scores else "–",
        "last": number(scores[-1], ".2f") if scores else "–",
        "curve": _curve(scores),
        "trust": result.trust,
        "caption": caption(result),
    }


def _curve(scores: list[float]) -> str:
    """The points of a polyline in a box of 100 x 30, with the highest score at the top."""
    if len(scores) < 2:
        return ""
    low, high = min(scores), max(scores)
    spread = (high - low) or 1.0
    step = max(1, len(scores) // 200)
    kept = [*range(0, len(scores) - 1, step), len(scores) - 1]
    return " ".join(f"{100 * i / (len(scores) - 1):.1f},{29 - 28 * (scores[i] - low) / spread:.1f}" for i in kept)
