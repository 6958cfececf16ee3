"""A map of an image collection as one HTML file: pan, zoom, search, and nearest images in the vectors."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from ..checks import Metric, which_is_nearer
from ..errors import ParameterError
from ..outputs import check_output, replace_file
from ..results import Array
from .templates import template
from .verdicts import disagreement, verdicts

HERE = Path(__file__).parent
SCRIPT, STYLE = HERE / "assets" / "map.js", HERE / "assets" / "map.css"
BYTE_BUDGET = 100_000_000

# What a fact means and does not mean, found by how its name starts; the first that fits.
MEANINGS = (
    (
        "trustworthiness",
        "Are the images that lie together on the map also near in the vectors? 1 means always; a random map has "
        "about 0.5. Below 0.9, expect strangers side by side.",
    ),
    (
        "neighbors kept",
        "Of an image's nearest images in the vectors, by Euclidean distance, how many are also its nearest on the "
        "map, on average. The others lie elsewhere.",
    ),
    (
        "variance kept",
        "How much of the differences between the vectors the flat map shows. The rest is out of sight: points "
        "that lie together can be far apart in truth.",
    ),
    (
        "agreement of clusters",
        "Whether clusters are labels under another name: adjusted mutual information, 1 where they are, about 0 "
        "where they have nothing to do with each other. Images without a label or a cluster do not count.",
    ),
    ("clusters", "Groups of images that are near in the vectors, found without looking at labels or at this map."),
    (
        "components for",
        "How many directions hold 90 % of the differences between the vectors: the fewer, the more of them a flat "
        "map can show.",
    ),
)


@dataclass(frozen=True, eq=False)
class MapData:
    """What a map shows. N points, K neighbors.

    Attributes:
        coordinates: (N, 2) float, finite; places on the map. Only relative distances matter.
        names: N names of the images, as the page shows them and finds them by.
        labels: N labels, None where there is none.
        predicted: N predicted labels, None where there is none; empty for no predictions at all. They are called
            right or wrong only where labels are classes of the network, see `verdicts`.
        probability: (N,) of the predicted labels, in [0, 1], NaN where there is none, or None.
        clusters: (N,) int, -1 for no cluster, -2 for an image that was not there yet, or None.
        representatives: (G,) int rows whose thumbnails stand for their clusters at every zoom, or None.
        thumbnails: N JPEG files as bytes (about 64 x 64 pixels, 2 KB), None where there is none; empty for none.
        neighbors: (N, K) int rows of the nearest points in the vectors, nearest first, negative where there are
            fewer; or None. A point in its own row is not shown.
        scores: (N, K) float, the similarity or distance of each neighbor; or None.
        metric: what the scores are.
        title, subtitle: the header.
        facts: name -> text, such as {"Trustworthiness": "0.93"}, shown above the map.
        meanings: name of a fact -> a sentence in plain words; known facts have one without it.
    """

    coordinates: Array
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    predicted: tuple[str | None, ...] = ()
    probability: Array | None = None
    clusters: Array | None = None
    representatives: Array | None = None
    thumbnails: Sequence[bytes | None] = ()
    neighbors: Array | None = None
    scores: Array | None = None
    metric: Metric = "cosine"
    title: str = "Map of the images"
    subtitle: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)


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
        output: path of the HTML file. Its folder is made; a page of convscope that is there is replaced.
        byte_budget: about how large the file may get. Above it, thumbnails of a random part of the points are
            left out, and the page says so.
        seed: chooses that part.
        inputs: files that the points were made from, which are never overwritten.
        overwrite: replace a file, too, that convscope did not write.

    Returns:
        The path of the file.

    Raises:
        ParameterError: the parts of ``points`` do not fit together.
        OutputError: the output is no file that convscope wrote, or cannot be written.

    Cost: about 75 bytes a point for K = 10, its name, and 4/3 of its thumbnail.
    """
    _check(points)
    output = Path(output)
    check_output(output, inputs=inputs, overwrite=overwrite)
    blocks = dict(_blocks(points))
    fixed = sum(path.stat().st_size for path in (SCRIPT, STYLE)) + 20_000  # and the header
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
        # Ours, not from outside: the only script that the page's policy lets run is the one with this hash.
        script=Markup(script),
        digest=digest,
        style=Markup(STYLE.read_text(encoding="utf-8")),
        blocks={name: Markup(text) for name, text in blocks.items()},
    )


def _blocks(points: MapData) -> Iterator[tuple[str, str]]:
    """The data as text for `<script>` elements: JSON without `<`, `>`, `&`, and base64 of little-endian arrays."""
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
    """The thumbnails in one text, (N + 1,) offsets of each in it, and how many found no room.

    Each is encoded by itself, so that its piece of the text is a data URI as it stands: the page decodes nothing
    before a thumbnail is seen.
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


def _check(points: MapData) -> None:
    """Everything that is there must be there for each point."""
    n = len(points.names)
    if n == 0:
        raise ParameterError("a map needs at least one point; there are no names")
    shape = np.shape(points.coordinates)
    if shape != (n, 2):
        raise ParameterError(f"coordinates must have the shape ({n}, 2) for {n} names; they have {shape}")
    n_lost = int((~np.isfinite(points.coordinates)).any(axis=1).sum())
    if n_lost:
        raise ParameterError(f"{n_lost} of {n} points have coordinates that are not finite; leave them out")
    if len(points.labels) != n:
        raise ParameterError(f"there are {n} names and {len(points.labels)} labels; use None for no label")
    optional = {"predicted": points.predicted, "thumbnails": points.thumbnails}
    for name, sequence in optional.items():
        if len(sequence) not in (0, n):
            raise ParameterError(f"there are {n} names and {len(sequence)} in {name}; give one for each, or none")
    for name, array in {"probability": points.probability, "clusters": points.clusters}.items():
        if array is not None and np.shape(array) != (n,):
            raise ParameterError(f"{name} must have the shape ({n},); it has {np.shape(array)}")
    rows = points.representatives
    if rows is not None and len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < n):
        raise ParameterError(f"representatives are rows from 0 to {n - 1}; they are {rows.min()} to {rows.max()}")
    _check_neighbors(points, n)


def _check_neighbors(points: MapData, n: int) -> None:
    if points.neighbors is None:
        if points.scores is not None:
            raise ParameterError("there are scores without neighbors; give both")
        return
    shape = np.shape(points.neighbors)
    if len(shape) != 2 or shape[0] != n:
        raise ParameterError(f"neighbors must have the shape ({n}, K); they have {shape}")
    if points.neighbors.size and int(points.neighbors.max()) >= n:
        raise ParameterError(f"neighbors are rows from 0 to {n - 1}; the largest is {int(points.neighbors.max())}")
    if points.scores is not None and np.shape(points.scores) != shape:
        raise ParameterError(f"scores must have the neighbors' shape {shape}; they have {np.shape(points.scores)}")
