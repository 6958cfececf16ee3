"""The data of a map as text in a page, and the script that draws it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from ..checks import which_is_nearer
from ..render.colors import ACTIVATION, OTHER, Scale
from ..results import Array
from .map_columns import SUSPECT, SUSPECT_TITLE, columns_of
from .map_data import Column, MapData
from .templates import with_script

_HERE = Path(__file__).parent
SCRIPT, STYLE = _HERE / "assets" / "map.js", _HERE / "assets" / "map.css"


def script_and_style() -> dict[str, Markup | str]:
    """What a template with a map needs."""
    return {**with_script(SCRIPT), "style": Markup(STYLE.read_text(encoding="utf-8"))}


def map_blocks(points: MapData, byte_budget: int, seed: int) -> dict[str, Markup]:
    """The texts of the page's data elements by their names, with the pictures for which there is room.

    Args:
        points: what to show.
        byte_budget: about how large the page may get.
        seed: of the choice of pictures, where there is not room for all.
    """
    columns = list(columns_of(points))
    blocks = dict(_blocks(points, columns))
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
    blocks["notes"] = _json(list(_notes(points, columns, n_left_out[0], byte_budget, seed)))
    return {name: Markup(text) for name, text in blocks.items()}


def _notes(points: MapData, columns: Sequence[Column], n_left_out: int, budget: int, seed: int) -> Iterator[str]:
    """What the page says below its legend."""
    if points.second is not None:
        nearest = "Click a point to see its nearest images in A and in B, wherever they lie here."
    elif points.neighbors is not None:
        nearest = "Click a point to see its nearest images in the vectors, wherever they lie here."
    else:
        nearest = "Which images are nearest in the vectors is not in this file."
    yield f"A map flattens the vectors and distorts them. {nearest}"
    if points.neighbors is not None and any(column.id == SUSPECT for column in columns):
        yield (
            f"“{SUSPECT_TITLE}” counts the labels of the {points.neighbors.shape[1]} nearest, each as much as the "
            "others. The command suspects weighs more of them by how near they are, asks a classifier, too, and "
            "may rank images differently."
        )
    if n_left_out:
        n_pictured = sum(one is not None for one in points.thumbnails) - n_left_out
        yield (
            f"The pictures of {n_pictured} images are in this file. Those of {n_left_out} others, chosen at "
            f"random (seed {seed}), are left out to keep it near {budget / 1e6:.0f} MB."
        )


def _blocks(points: MapData, columns: Sequence[Column]) -> Iterator[tuple[str, str]]:
    """The data as text of `<script>` elements: JSON without `<`, `>`, `&`, and little-endian arrays in base64."""
    texts = {
        "names": points.names,
        "columns": [column.about() for column in columns],
        "measure": f"{points.metric}, {which_is_nearer(points.metric)}" if points.scores is not None else "",
        "ramp": Scale(0, 1, ACTIVATION).gradient(),
        "other": OTHER,
        "titles": ("A", "B") if points.second is not None else (),
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
    if points.second is not None:
        yield "coordinates-b", _base64(points.second.coordinates, "<f4")
        yield "neighbors-b", _base64(points.second.neighbors, "<i4")


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
