"""Figures of one image: attribution maps with their color bars, and feature maps as grids of tiles."""

from __future__ import annotations

import base64
import inspect
import io
import math
from typing import Any

from PIL import Image

from ..attribution import ATTRIBUTIONS
from ..render import (
    Scale,
    attribution_map,
    attribution_overlay,
    attribution_scale,
    channel_tiles,
    image_uri,
    is_grainy,
    top_units,
)
from ..results import CONTROLS, Attribution, Evaluation, FeatureMaps, Result

View = dict[str, Any]

_HEAD = 1 << 14  # characters of a data URI, of which each 4 stand for 3 bytes: the size is told in the first
TILE_PX = 112  # tiles are seen at about this size; sending more pixels would only make the file larger


def caption(result: Result) -> list[str]:
    """Method, parameters and time, then the remarks: what stands under every figure."""
    return [result.provenance.caption, *result.provenance.notes]


def number(value: float, spec: str = ".3g") -> str:
    """A number for people; a dash for what is none."""
    if not math.isfinite(value):
        return "–"
    text = format(value, spec)
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")  # no "−0.00"


def share(value: float, spec: str) -> str:
    """A number of which 1 says "always"; what is only rounded to it says so."""
    text = format(value, spec)
    return f"almost {text}" if text == format(1.0, spec) and value < 1 - 1e-6 else text


def size_of(uri: str) -> tuple[int, int]:
    """Width and height of a picture in a data URI: a page that knows them keeps its place while pictures load."""
    start = uri.index(",") + 1
    return Image.open(io.BytesIO(base64.b64decode(uri[start : start + _HEAD]))).size


def method_view(result: Attribution) -> View:
    """What a method does and how its colors are read, for the head of the section: its docstring's first words."""
    method = result.provenance.method
    summary, intuition = (inspect.getdoc(ATTRIBUTIONS[method]) or "").split("\n\n")[:2]
    return {"name": method, "text": f"{summary} {intuition}", "is_signed": result.signed}


def attribution_views(result: Attribution, n: int) -> list[View]:
    """The overlay; before it, where that would be illegible alone, the map by itself."""
    scale = attribution_scale(result, n)
    method = result.provenance.method
    about = {
        "method": method,
        "target": result.targets[n],
        "score": number(float(result.scores[n]), ".2f"),
        "bar": color_bar(scale, result.unit),
        "caption": caption(result),
        "is_zero": not result.values[n].any(),
    }
    views = [
        {**about, "kind": "over the photo", "uri": image_uri(attribution_overlay(result, n)), "is_sharp": False}
    ]
    if is_grainy(result.values[n]):
        views.insert(
            0, {**about, "kind": "by itself", "uri": image_uri(attribution_map(result, n)), "is_sharp": True}
        )
    return views


def badge(evidence: Evaluation | None, result: Attribution, n: int) -> View | None:
    """How good the map of image n is, beside a map of chance; completeness where it applies; seconds an image."""
    if evidence is None:
        return None
    row, chance = evidence.methods.index(result.provenance.method), evidence.methods.index(CONTROLS[0])
    insertion, deletion = (evidence.areas(kind)[[row, chance], n].tolist() for kind in ("insertion", "deletion"))
    completeness = float(evidence.values[row, evidence.measures.index("completeness_error"), n])
    return {
        "is_better": insertion[0] - deletion[0] > insertion[1] - deletion[1],
        "insertion": number(insertion[0], ".2f"),
        "deletion": number(deletion[0], ".2f"),
        "chance": (number(insertion[1], ".2f"), number(deletion[1], ".2f")),
        "completeness": number(completeness, ".2g") if math.isfinite(completeness) else None,
        "seconds": number(result.provenance.seconds / len(result.values), ".2f"),
    }


def color_bar(scale: Scale, label: str) -> View:
    """What a page needs to draw a color bar: the colors and the numbers at its ends and in the middle."""
    below, above = scale.extend in ("min", "both"), scale.extend in ("max", "both")
    middle = 0.0 if scale.is_signed else scale.high / 2
    return {
        "colors": ", ".join(scale.gradient()),
        "low": ("≤ " if below else "") + number(scale.low),
        "middle": number(middle),
        "high": ("≥ " if above else "") + number(scale.high),
        "label": label,
    }


def layer_views(result: FeatureMaps, n: int) -> list[View]:
    """Each layer of image n: tiles of the most active channels, or the bars of a vector layer."""
    n_tiles = 24 if len(result.images) <= 4 else 12  # many images: fewer tiles of each, for the file's sake
    views = []
    for layer in result.layers:
        values = result.values[layer][n]
        if values.ndim == 1:
            views.append({"layer": layer, "units": _units(result, layer, n), "tiles": [], "count": len(values)})
            continue
        chosen, tiles, scale = channel_tiles(result, layer, n, channels=n_tiles)
        views.append(
            {
                "layer": layer,
                "units": [],
                "tiles": [
                    {"channel": c, "uri": image_uri(tile, at_most_px=TILE_PX)}
                    for c, tile in zip(chosen, tiles, strict=True)
                ],
                "count": len(values),
                "size": f"{values.shape[1]}×{values.shape[2]}",
                "bar": color_bar(scale, "activation"),
                "caption": caption(result),
            }
        )
    return views


def _units(result: FeatureMaps, layer: str, n: int) -> list[View]:
    units = top_units(result, layer, n, 12)
    largest = max((abs(value) for _, value in units if math.isfinite(value)), default=0.0) or 1.0
    return [
        {"unit": u, "value": number(v), "width": f"{100 * abs(v) / largest:.1f}" if math.isfinite(v) else "0"}
        for u, v in units
    ]
