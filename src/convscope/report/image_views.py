"""What the template shows of one image: attribution maps with their color bars, feature maps as grids of tiles."""

from __future__ import annotations

import inspect
import math
from typing import Any

from ..attribution import ATTRIBUTIONS
from ..render import (
    Scale,
    attribution_overlay,
    attribution_scale,
    channel_tiles,
    ground,
    image_uri,
    input_uri,
    layer_uri,
    panel_uri,
    peak_depth,
    top_units,
)
from ..results import CONTROLS, Array, Attribution, Evaluation, FeatureMaps
from .wording import caption, number

View = dict[str, Any]

TILE_PX = 112  # about the size of a tile on the page; more pixels would only make the file larger


_PANELS = {"Signal": "behind the signal", "Volume": "three planes through its peak", "Vector": "value by value"}


def method_view(result: Attribution) -> View:
    """What a method does, in the first words of its docstring, and how to read its colors."""
    method = result.provenance.method
    summary, intuition = (inspect.getdoc(ATTRIBUTIONS[method]) or "").split("\n\n")[:2]
    return {
        "name": method,
        "summary": summary.removesuffix("."),
        "text": intuition,
        "is_signed": result.signed,
        "caption": caption(result),
    }


def map_views(result: Attribution, n: int) -> list[View]:
    """The map of image n as a layer over its photo, with a color bar.

    Of signals, volumes and vectors a panel with its own scale; of several inputs a panel for each.
    """
    method = result.provenance.method
    about = {
        "method": method,
        "target": result.targets[n],
        "score": number(float(result.scores[n]), ".2f"),
        "bar": None,
        "layer": None,
        "panel": None,
    }
    if result.given:
        parts = ((name, result.of_input(name)) for name in result.given)
        return [about | _panel(part, n, f"{name}, ") for name, part in parts]
    if kind_of(result.images[n]) != "Photo":
        return [about | _panel(result, n)]
    scale = attribution_scale(result, n)
    view = {
        "kind": "over the photo",
        "bar": color_bar(scale, result.unit),
        "layer": layer_uri(result.values[n], scale),
        "ground": ground(scale),
        "is_zero": not result.values[n].any(),
    }
    return [about | view]


def _panel(result: Attribution, n: int, of: str = "") -> View:
    what = kind_of(result.images[n])
    is_photo = what == "Photo"
    return {
        "kind": f"{of}{'over the photo' if is_photo else _PANELS[what]}",
        "panel": image_uri(attribution_overlay(result, n)) if is_photo else panel_uri(result, n),
        "is_zero": not result.values[n].any(),
    }


def kind_of(image: Array) -> str:
    """What the network saw: a photo (H, W, 3), a signal (C, L), a volume (D, H, W, 3) or a vector (D,)."""
    return {1: "Vector", 2: "Signal", 3: "Photo", 4: "Volume"}[image.ndim]


def photo_uri(result: Attribution, n: int) -> str:
    """What the network saw of image n, of a volume the plane of the strongest value."""
    image = result.images[n]
    if kind_of(image) == "Photo":
        return image_uri(image, "jpeg")
    return image_uri(image[peak_depth(result.values[n])], "jpeg") if image.ndim == 4 else input_uri(image)


def badge(evidence: Evaluation | None, result: Attribution, n: int) -> View | None:
    """How good the map of image n is beside a random map, and its completeness error where that applies."""
    if evidence is None:
        return None
    row, chance = evidence.methods.index(result.provenance.method), evidence.methods.index(CONTROLS[0])
    insertion, deletion = (evidence.areas(kind)[[row, chance], n].tolist() for kind in ("insertion", "deletion"))
    completeness = float(evidence.values[row, evidence.measures.index("completeness_error"), n])
    # In the digits shown, so that equal numbers are a tie.
    gains = {
        "insertion": round(insertion[0], 2) - round(insertion[1], 2),
        "deletion": round(deletion[1], 2) - round(deletion[0], 2),
    }
    return {
        "verdict": _verdict(gains),
        "is_better": min(gains.values()) > 0,
        "insertion": number(insertion[0], ".2f"),
        "deletion": number(deletion[0], ".2f"),
        "chance": (number(insertion[1], ".2f"), number(deletion[1], ".2f")),
        "completeness": number(completeness, ".2g") if math.isfinite(completeness) else None,
    }


def _verdict(gains: dict[str, float]) -> str:
    """Whether a map is better than a random one by both measures, by one of them, or by none."""
    better = [name for name, gain in gains.items() if gain > 0]
    others = [name for name in gains if name not in better]
    if not better:
        return "Not better than a random map"
    return f"Better than a random map by {better[0]}, not by {others[0]}" if others else "Better than a random map"


def color_bar(scale: Scale, label: str) -> View:
    """What the page needs for a color bar: colors, and the numbers at its ends and in the middle."""
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
    """Each layer of image n: tiles of its most active channels, or the bars of a vector layer."""
    n_tiles = 24 if len(result.images) <= 2 else 12  # fewer for many images, to keep the file small
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
