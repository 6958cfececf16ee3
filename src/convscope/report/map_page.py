"""A map of many images as one HTML file, with pan, zoom, search, and the nearest images in the vectors."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from ..checks import which_is_nearer
from ..embedding.label_checks import disagreement, verdicts
from ..outputs import check_output, replace_file
from ..results import Array
from .map_data import MapData, check_map
from .templates import template

HERE = Path(__file__).parent
SCRIPT, STYLE = HERE / "assets" / "map.js", HERE / "assets" / "map.css"
BYTE_BUDGET = 100_000_000

# Start of a fact's name -> what the fact means and does not mean; the first that fits is shown.
MEANINGS = (
    (
        "trustworthiness",
        "Are images that lie together on the map near in the vectors, too? 1 means always; a random map has about "
        "0.5. Below 0.9, expect strangers side by side.",
    ),
    (
        "neighbors kept",
        "How many of an image's nearest in the vectors, by Euclidean distance, are among its nearest on the map: "
        "the average over the images.",
    ),
    (
        "variance kept",
        "How much of the variance of the vectors the flat map shows. The rest is out of sight: points that lie "
        "together here can be far apart in the vectors.",
    ),
    (
        "agreement of clusters",
        "Do the clusters match the labels? Adjusted mutual information: 1 means they are the same groups, about 0 "
        "that they are unrelated. Images without a label or a cluster do not count.",
    ),
    ("clusters", "Groups of images that are near in the vectors, found without the labels and without this map."),
    (
        "components for",
        "How many directions hold 90 % of the variance of the vectors. The fewer they are, the more of it a flat "
        "map can show.",
    ),
)


def map_page(
    points: MapData,
    output: Path,
    *,
    byte_budget: int = BYTE_BUDGET,
    seed: int = 0,
    inputs: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write an interactive map as one HTML file that needs no connection.

    Args:
        points: what to show.
        output: path of the HTML file. Its folder is created if needed; a page that convscope wrote is replaced.
        byte_budget: about how large the file may get. Above it, the thumbnails of randomly chosen points are left
            out, and the page says so.
        seed: of that choice.
        inputs: files that the points were made from, which are never overwritten.
        overwrite: also replace a file that convscope did not write.

    Returns:
        The path of the file.

    Raises:
        ParameterError: the parts of ``points`` do not fit together.
        OutputError: the output exists and convscope did not write it, or it cannot be written.

    Cost: per point about 75 bytes for K = 10, plus its name and 4/3 of its thumbnail.
    """
    check_map(points)
    output = Path(output)
    check_output(output, inputs=inputs, overwrite=overwrite)
    blocks = dict(_blocks(points))
    fixed = sum(path.stat().st_size for path in (SCRIPT, STYLE)) + 20_000  # for the rest of the page
    room = byte_budget - sum(map(len, blocks.values())) - fixed
    pictures, offsets, n_left_out = _pictures(points.thumbnails, room, seed)
    if pictures:
        blocks["offsets"] = _base64(offsets, "<u4")
        blocks["pictures"] = pictures
    pieces = _pieces(points, blocks, n_left_out, byte_budget, seed)
    replace_file(output, pieces, inputs=inputs, overwrite=overwrite)
    return output


def _pieces(points: MapData, blocks: Mapping[str, str], n_left_out: int, budget: int, seed: int) -> Iterator[str]:
    """The page, piece by piece."""
    script = SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return template("map.html.jinja").generate(
        title=points.title,
        subtitle=points.subtitle,
        facts=[(name, text, _meaning(name, points.meanings)) for name, text in points.facts.items()],
        count=len(points.names),
        n_nearest=0 if points.neighbors is None else points.neighbors.shape[1],
        measure=f"{points.metric}, {which_is_nearer(points.metric)}" if points.scores is not None else "",
        n_left_out=n_left_out,
        n_pictured=sum(one is not None for one in points.thumbnails) - n_left_out,
        budget=f"{budget / 1e6:.0f}",
        seed=seed,
        # Not escaped, as it is ours. The page's policy lets only the script with this hash run.
        script=Markup(script),
        digest=digest,
        style=Markup(STYLE.read_text(encoding="utf-8")),
        blocks={name: Markup(text) for name, text in blocks.items()},
    )


def _blocks(points: MapData) -> Iterator[tuple[str, str]]:
    """The data as text of `<script>` elements: JSON without `<`, `>`, `&`, and little-endian arrays in base64."""
    words = sorted({word for word in (*points.labels, *points.predicted) if word is not None})
    places = {word: place for place, word in enumerate(words)}

    def codes(values: Sequence[str | None]) -> str:
        return _base64(np.array([-1 if word is None else places[word] for word in values]), "<i4")

    texts = {"names": list(points.names), "words": words}
    yield "texts", str(htmlsafe_json_dumps(texts, separators=(",", ":")))
    yield "coordinates", _base64(points.coordinates, "<f4")
    yield "labels", codes(points.labels)
    if points.predicted:
        yield "predicted", codes(points.predicted)
    judged = verdicts(points.labels, points.predicted) if points.predicted else None
    arrays = {
        "verdicts": (judged, "i1"),
        "disagreement": (disagreement(points.labels, points.neighbors) if judged is None else None, "<f4"),
        "probability": (points.probability, "<f4"),
        "clusters": (points.clusters, "<i4"),
        "representatives": (points.representatives, "<i4"),
        "neighbors": (points.neighbors, "<i4"),
        "scores": (points.scores, "<f4"),
    }
    for name, (array, kind) in arrays.items():
        if array is not None:
            yield name, _base64(array, kind)


def _base64(array: Any, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=kind).tobytes()).decode("ascii")


def _pictures(thumbnails: Sequence[bytes | None], room: int, seed: int) -> tuple[str, Array, int]:
    """The thumbnails in one text, their (N + 1,) offsets in it, and how many found no room.

    Each is encoded by itself, so that its piece of the text can be used as a data URI: the page decodes a
    thumbnail only when it is seen.
    """
    n = len(thumbnails)
    lengths = np.array([0 if one is None else -(-len(one) // 3) * 4 for one in thumbnails], dtype=np.int64)
    room -= 6 * (n + 1)  # the offsets themselves
    is_kept = lengths > 0
    if lengths.sum() > room:
        order = np.random.default_rng(seed).permutation(n)
        is_kept[order] &= np.cumsum(lengths[order]) <= room
    offsets = np.concatenate([[0], np.cumsum(np.where(is_kept, lengths, 0))])
    kept = (one for one, keep in zip(thumbnails, is_kept, strict=True) if one is not None and keep)
    text = "".join(base64.b64encode(one).decode("ascii") for one in kept)
    return text, offsets, int((lengths > 0).sum() - is_kept.sum())


def _meaning(name: str, given: Mapping[str, str]) -> str:
    known = (text for start, text in MEANINGS if name.strip().lower().startswith(start))
    return given.get(name) or next(known, "")
