"""A map of many images as one HTML file, with pan, zoom, search, and the nearest images in the vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..outputs import check_output, replace_file
from .map_blocks import map_blocks, script_and_style
from .map_data import MapData, check_map
from .templates import template

_HEAD = 1024  # bytes of the file that hold the names' digest
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
    blocks = map_blocks(points, byte_budget, seed)
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
    return template("map.html.jinja").generate(
        images=_digest_of(points.names),
        title=points.title,
        subtitle=points.subtitle,
        facts=[(name, text, _meaning(name, points.meanings)) for name, text in points.facts.items()],
        blocks=blocks,
        **script_and_style(),
    )


def _meaning(name: str, given: Mapping[str, str]) -> str:
    known = (text for start, text in MEANINGS if name.strip().lower().startswith(start))
    return given.get(name) or next(known, "")
