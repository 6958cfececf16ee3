"""What the template shows of units: sheets of images, bars, a picture; and a page of units alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import checks_arguments
from ..outputs import check_output, replace_file
from ..render import image_uri, lit_images, patch_field, patch_tiles, picture_tile, unit_image_names, where_silent
from ..results import Array, UnitPage, UnitPatches
from ..texts import counted
from .templates import template
from .wording import caption, number

View = dict[str, Any]

TILE_PX = 224  # the longer side of a tile; more pixels would only make the file larger
TILES, FEW = 8, 4  # images of a sheet
_ROWS = 8
# What the parts that may be left out are called.
TITLES = {
    "relevance": "Where the network uses it",
    "necessity": "What the network loses without it",
    "feeds": "Channels that feed it",
    "picture": "A picture made for it",
}


@checks_arguments
def write_unit_pages(pages: Sequence[UnitPage], output: str | Path, *, overwrite: bool = False) -> Path:
    """Write one self-contained HTML file with a place for each unit, which links lead to: ``#unit-LAYER-CHANNEL``.

    Raises:
        OutputError: the output is a folder or a file that convscope did not write, or cannot be written.
    """
    inputs = [name for page in pages for name in page.top.names]
    check_output(output, inputs=inputs, overwrite=overwrite)
    title = f"Units of {pages[0].provenance.model.get('name', 'a network')}"
    text = template("unit_sheet.html.jinja").render(title=title, units=unit_views(pages), is_alone=True)
    replace_file(output, [text], inputs=inputs, overwrite=overwrite)
    return Path(output)


def unit_views(pages: Sequence[UnitPage]) -> list[View]:
    """Everything that the section on units shows; channels with a page of their own are linked."""
    anchors = {(page.layer, page.channel): page.anchor for page in pages}
    return [_view(page, anchors) for page in pages]


def _view(page: UnitPage, anchors: dict[tuple[str, int], str]) -> View:
    made = page.visualization
    filter_picture = picture_tile(page)
    return {
        "layer": page.layer,
        "channel": page.channel,
        "anchor": page.anchor,
        "rarity": page.rarity,
        "sheets": list(_sheets(page)),
        "picture": made
        and {
            **_picture(made.image, at_most_px=512),
            "note": f"by raising its mean over all places, here {number(float(made.scores[-1]), '.2f')}",
        },
        "filter": None if filter_picture is None else image_uri(filter_picture),
        "charts": [chart for chart in _charts(page, anchors) if chart["rows"]],
        "peaks": _peaks(page),
        "left_out": [_left_out(line) for line in page.left_out],
        "caption": caption(page),
    }


def _charts(page: UnitPage, anchors: dict[tuple[str, int], str]) -> Iterator[View]:
    """Bars: labels, nearest channels, what needs the unit, what feeds it."""
    areas = zip(page.labels, page.areas.tolist(), strict=True)
    yield {
        "title": "Labels it tells apart",
        "note": "how often an image of the label has a higher peak than one of another label (AUROC): 1 is "
        "always, 0.5 is chance; orange: more seldom",
        "rows": [_bar(n, a, 2 * a - 1, ".2f") for n, a in areas if not math.isnan(a)][:_ROWS],
    }
    yield {
        "title": "Nearest channels",
        "note": "that are high at the same places (correlation); orange: where this one is low",
        "rows": [
            _bar(f"channel {pair.b}", pair.r, pair.r, ".2f", anchors.get((page.layer, pair.b)))
            for pair in page.nearest
        ],
    }
    if (lost := page.necessity) is not None:
        changed = lost.top(page.channel, _ROWS)
        most = max(abs(one.effect) for one in changed) or 1.0
        yield {
            "title": TITLES["necessity"],
            "note": f"how far the score of a class falls in its own images if the channel is its mean everywhere; "
            f"orange: it rises. In {counted(len(lost.names), 'image')}: {lost.kept(page.channel)}",
            "rows": [_bar(one.label, one.effect, one.effect / most, "+.3g") for one in changed],
        }
    if (fed := page.feeds) is not None:
        sources = fed.top(page.channel, _ROWS)
        most = max((abs(one.contribution) for one in sources), default=1.0)
        yield {
            "title": TITLES["feeds"],
            "note": f"in layer {fed.source}: what each adds on average (weight × mean value); orange takes away",
            "rows": [
                _bar(
                    f"channel {one.channel}",
                    one.contribution,
                    one.contribution / most,
                    "+.3g",
                    next((anchors[at] for layer in fed.sources if (at := (layer, one.channel)) in anchors), None),
                )
                for one in sources
            ],
        }


def _left_out(line: str) -> View:
    name, _, reason = line.partition(": ")
    return {"title": TITLES.get(name, name), "reason": reason}


def _sheets(page: UnitPage) -> list[View]:
    top = page.top
    field = f"where its peaks come from: {patch_field(top, page.middle, page.low)}"
    lit = f"lit where it is above {number(page.threshold)}, its median peak"
    sheets = [
        _sheet("What excites it most", field, patch_tiles(top), top),
        _sheet("In their images", lit, lit_images(page, "top"), top),
        _few("Middle images", "in the middle of all, ordered by peak", page.middle),
        _few("Lowest images", "as it responds to least", page.low),
    ]
    if page.relevant is not None:
        note = "images in which it adds most to the class score (relevance, by LRP), lit as above"
        sheets.append(_sheet(TITLES["relevance"], note, lit_images(page, "relevant"), page.relevant))
    return sheets


def _few(title: str, note: str, of: UnitPatches) -> View:
    return _sheet(title, "; ".join(filter(None, [note, where_silent(of)])), patch_tiles(of)[:FEW], of)


def _sheet(title: str, note: str, tiles: Array, of: UnitPatches) -> View:
    what = "relevance" if of.which == "relevant" else "peak"
    return {
        "title": title,
        "note": note,
        "tiles": [
            {
                **_picture(tile),
                "name": name,
                "alt": f"{title}: {name}",
                "value": f"{what} {number(float(value), '#.3g')}",
            }
            for tile, name, value in zip(tiles[:TILES], unit_image_names(of), of.values.tolist(), strict=False)
        ],
    }


def _picture(pixels: Array, *, at_most_px: int = TILE_PX) -> View:
    """A picture; the pixels of a small one stay sharp squares where the page enlarges it."""
    is_sharp = max(pixels.shape[:2]) < TILE_PX // 2
    return {"uri": image_uri(pixels, "png" if is_sharp else "jpeg", at_most_px=at_most_px), "is_sharp": is_sharp}


def _bar(name: str, value: float, length: float, spec: str, link: str | None = None) -> View:
    return {
        "name": name,
        "value": number(value, spec),
        "width": f"{100 * min(1.0, abs(length)):.1f}",
        "is_negative": length < 0,
        "link": link,
    }


def _peaks(page: UnitPage) -> View:
    """A histogram as a path in a box of 100 x 30, and where the median is."""
    low, high = float(page.edges[0]), float(page.edges[-1])
    heights = 28 * page.histogram / max(1, page.histogram.max())
    places = 100 * np.arange(len(heights) + 1) / len(heights)
    steps = "".join(
        f"V{30 - height:.1f}H{end:.1f}" for height, end in zip(heights.tolist(), places[1:].tolist(), strict=True)
    )
    at = 100 * (page.threshold - low) / (high - low) if high > low else 50.0
    return {
        "path": f"M0,30{steps}V30Z",
        "low": number(low),
        "high": number(high),
        "median": number(page.threshold),
        "at": f"{at:.1f}",
    }
