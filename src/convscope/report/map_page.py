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
from ..outputs import check_output, replace_file
from ..render.colors import ACTIVATION, OTHER, Scale
from ..results import Array
from .map_columns import columns_of
from .map_data import MapData, check_map
from .templates import template

_HEAD = 1024  # bytes of the file that hold the names' digest
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

    Cost: per point about 110 bytes for K = 8, plus its name and 4/3 of its pictures.
    """
    check_map(points)
    output = Path(output)
    check_output(output, inputs=inputs, overwrite=overwrite)
    blocks = dict(_blocks(points))
    fixed = sum(path.stat().st_size for path in (SCRIPT, STYLE)) + 20_000  # for the rest of the page
    room = byte_budget - sum(map(len, blocks.values())) - fixed
    n_left_out = []
    for name, offsets, given in (
        ("pictures", "offsets", points.thumbnails),
        ("larger", "larger-offsets", points.pictures),
    ):
        text, starts, left_out = _pictures(given, room, seed)
        n_left_out.append(left_out)
        if text:
            blocks |= {name: text, offsets: _base64(starts, "<u4")}
            room -= len(text) + len(blocks[offsets])
    blocks["notes"] = _json(list(_notes(points, n_left_out[0], byte_budget, seed)))
    replace_file(output, _pieces(points, blocks), inputs=inputs, overwrite=overwrite)
    return output


def is_map_of(page: Path, names: Sequence[str]) -> bool:
    """Whether a file is a map of these images, named relative to the folder that all share, and of no others."""
    try:
        if not page.is_file():  # reading a pipe never ends
            return False
        with page.open("rb") as file:
            return f'<meta name="images" content="{_digest_of(names)}">'.encode() in file.read(_HEAD)
    except OSError:
        return False


def _digest_of(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "backslashreplace")).hexdigest()


def _pieces(points: MapData, blocks: Mapping[str, str]) -> Iterator[str]:
    """The page, piece by piece."""
    script = SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return template("map.html.jinja").generate(
        images=_digest_of(points.names),
        title=points.title,
        subtitle=points.subtitle,
        facts=[(name, text, _meaning(name, points.meanings)) for name, text in points.facts.items()],
        # Not escaped, as it is ours. The page's policy lets only the script with this hash run.
        script=Markup(script),
        digest=digest,
        style=Markup(STYLE.read_text(encoding="utf-8")),
        blocks={name: Markup(text) for name, text in blocks.items()},
    )


def _notes(points: MapData, n_left_out: int, budget: int, seed: int) -> Iterator[str]:
    """What the page says below its legend."""
    if points.neighbors is not None:
        nearest = "Click a point to see its nearest images in the vectors, wherever they lie here."
    else:
        nearest = "Which images are nearest in the vectors is not in this file."
    yield f"A map flattens the vectors and distorts them. {nearest}"
    if n_left_out:
        n_pictured = sum(one is not None for one in points.thumbnails) - n_left_out
        yield (
            f"The pictures of {n_pictured} images are in this file. Those of {n_left_out} others, chosen at "
            f"random (seed {seed}), are left out to keep it near {budget / 1e6:.0f} MB."
        )


def _blocks(points: MapData) -> Iterator[tuple[str, str]]:
    """The data as text of `<script>` elements: JSON without `<`, `>`, `&`, and little-endian arrays in base64."""
    columns = list(columns_of(points))
    texts = {
        "names": points.names,
        "columns": [column.about() for column in columns],
        "measure": f"{points.metric}, {which_is_nearer(points.metric)}" if points.scores is not None else "",
        "ramp": Scale(0, 1, ACTIVATION).gradient(),
        "other": OTHER,
    }
    yield "texts", _json(texts)
    yield "coordinates", _base64(points.coordinates, "<f4")
    for place, column in enumerate(columns):
        kind = "<f4" if column.codes is None else "<i4"
        yield f"column-{place}", _base64(column.numbers if column.codes is None else column.codes, kind)
    arrays = {"representatives": "<i4", "neighbors": "<i4", "scores": "<f4"}
    for name, kind in arrays.items():
        if getattr(points, name) is not None:
            yield name, _base64(getattr(points, name), kind)


def _json(value: Any) -> str:
    return str(htmlsafe_json_dumps(value, separators=(",", ":")))


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
