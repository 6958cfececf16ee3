"""Make the pictures of the documentation: ``python docs/pictures/make.py [NAME ...]``.

Everything comes from the default network and two photos that scikit-image ships, so nothing is downloaded.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from skimage import data

from convscope import Model, feature_maps, filters, load_model, occlusion, saliency, visualize
from convscope.render import attribution_map, attribution_overlay, channel_tiles, figure, plot

HERE = Path(__file__).parent
INK, SOFT = "#1d1d1f", "#66666b"


def draw_filters(model: Model) -> Figure:
    return figure(filters(model))


def draw_feature_maps(model: Model) -> Figure:
    return figure(feature_maps(model, data.coffee(), layer=["blocks.1", "blocks.3"]), channels=15)


def draw_saliency(model: Model) -> Figure:
    return figure(saliency(model, [data.coffee(), data.chelsea()]))


def draw_occlusion(model: Model) -> Figure:
    """One photo under four choices of window and baseline."""
    choices: list[dict[str, Any]] = [{"window": 32}, {"window": 64}, {"window": 64, "baseline": "noise"}]
    results = [occlusion(model, data.coffee(), **choice) for choice in choices]
    drawing = Figure(figsize=(13.5, 3.3), layout="constrained", facecolor="white")
    axes = drawing.subplots(1, 4)
    axes[0].imshow(results[0].images[0])
    axes[0].set_title("as the network saw it", loc="left", fontsize=9, color=INK)
    for ax, result in zip(axes[1:], results, strict=True):
        plot(result, ax)
        options = result.provenance.parameters
        ax.set_title(f"window {options['window'][0]}, baseline {options['baseline']}", loc="left", fontsize=9, color=INK)
    for ax in axes:
        ax.set_axis_off()
    return drawing


def draw_visualize(model: Model) -> Figure:
    """The same target with the defaults, and by plain ascent."""
    made = visualize(model, "espresso")
    plain = visualize(model, "espresso", blur=0, jitter_px=0)
    cat = visualize(model, "tiger cat")
    drawing = Figure(figsize=(10.2, 3.9), layout="constrained", facecolor="white")
    for ax, result, what in zip(
        drawing.subplots(1, 3), (made, cat, plain), ("defaults", "defaults", "blur=0, jitter_px=0"), strict=True
    ):
        plot(result, ax)
        ax.set_xlabel(what)
        ax.text(0, 1.03, what, transform=ax.transAxes, va="top", fontsize=8, color=SOFT)
    return drawing


def draw_hero(model: Model) -> Figure:
    """One row for the README: the photo, and what four methods see in it."""
    photo = data.coffee()
    hidden = occlusion(model, photo)
    gradient = saliency(model, photo)
    _, tiles, _ = channel_tiles(feature_maps(model, photo, layer="blocks.1"), "blocks.1", channels=16)
    liked = visualize(model, "espresso")
    panels = [
        (hidden.images[0], "photo"),
        (attribution_overlay(hidden, 0), "occlusion"),
        (attribution_map(gradient, 0), "saliency"),
        (_grid(tiles, 4), "feature maps"),
        (liked.image, "what “espresso” looks like"),
    ]
    drawing = Figure(figsize=(16, 3.72), facecolor="white")
    side, gap = 0.1848, 0.0095
    for i, (pixels, caption) in enumerate(panels):
        ax = drawing.add_axes((0.019 + i * (side + gap), 0.135, side, side * 16 / 3.72))
        _bare(ax, pixels)
        ax.text(0, -0.035, caption, transform=ax.transAxes, va="top", fontsize=13, color=SOFT)
    return drawing


def _grid(tiles: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Tiles (K, h, w, 3) on white; K fills the grid."""
    framed = np.pad(tiles, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    height, width = framed.shape[1:3]
    rows = framed.reshape(-1, columns, height, width, 3).swapaxes(1, 2)
    return rows.reshape(-1, columns * width, 3)[:-gap, :-gap]


def _bare(ax: Axes, pixels: np.ndarray) -> None:
    ax.imshow(pixels, interpolation="antialiased")
    ax.set_axis_off()


# name -> (drawing, dots per inch, file type)
PICTURES: dict[str, tuple[Callable[[Model], Figure], int, str]] = {
    "filters": (draw_filters, 110, "png"),
    "feature-maps": (draw_feature_maps, 90, "png"),
    "saliency": (draw_saliency, 90, "jpg"),
    "occlusion": (draw_occlusion, 100, "jpg"),
    "visualize": (draw_visualize, 100, "jpg"),
    "hero": (draw_hero, 100, "jpg"),
}


def write(drawing: Figure, path: Path, dpi: int) -> None:
    """PNG of 256 colors for flat pictures, JPEG for photos."""
    buffer = io.BytesIO()
    tight = {} if path.stem == "hero" else {"bbox_inches": "tight", "pad_inches": 0.1}
    drawing.savefig(buffer, format="png", dpi=dpi, facecolor="white", **tight)
    image = Image.open(buffer).convert("RGB")
    if path.suffix == ".png":
        image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    else:
        image.save(path, quality=82, optimize=True, progressive=True)
    print(f"{path.name}: {image.width} x {image.height}, {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    model = load_model(device="cpu")
    for name in sys.argv[1:] or PICTURES:
        draw, dpi, suffix = PICTURES[name]
        write(draw(model), HERE / f"{name}.{suffix}", dpi)


if __name__ == "__main__":
    main()
