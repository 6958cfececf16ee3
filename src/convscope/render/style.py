"""How every figure looks: ink, type and white space; and text that cannot break a drawing."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import PurePath
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from matplotlib.ticker import MaxNLocator

from ..errors import ParameterError
from ..results import Array, Result
from .colors import Scale

INK, SOFT, LINE = "#1d1d1f", "#66666b", "#d8d8dc"
ACCENT, WRONG = "#0072b2", "#d55e00"  # Okabe and Ito's blue and vermilion: color-blind readers tell them apart
PALE = "#8fb8d3"  # of the accent
BLANK = "#f0f0f2"  # where there is nothing to show
# Okabe and Ito's colors without yellow, which is too pale on white, and black, the ink of the text.
LINE_COLORS = (ACCENT, WRONG, "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
FONT = "DejaVu Sans"  # ships with matplotlib, so pictures are the same on every machine


def new_figure(width: float, height: float) -> Figure:
    """A white figure (inches) that pyplot does not know, so that it needs no closing."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.1, h_pad=0.1, wspace=0.02, hspace=0.04)  # type: ignore[call-arg]
    return figure


NEARLY_WHITE = 244
_REMARKS = 4  # notes of a result that stand below its picture


def headline(figure: Figure, title: str, result: Result, notes: Sequence[str] = ()) -> None:
    """A title above the figure; below it, where the result comes from."""
    width = int(figure.get_figwidth() * 14)
    figure.suptitle(fold(title, int(width * 0.62)), x=0.015, ha="left", **text(size=12, weight="bold"))
    remarks = result.provenance.notes
    rest = (
        [f"And {len(remarks) - _REMARKS} more remarks, in the result's notes."] if len(remarks) > _REMARKS else []
    )
    below = [result.provenance.caption, *notes, *remarks[:_REMARKS], *rest]
    lines = "\n".join(fold(line, width) for line in below)
    figure.supxlabel(lines, x=0.015, ha="left", linespacing=1.4, **text(size=7, color=SOFT))


_NOTE_POINTS = 17  # from the axes to a title with a note below it


def heading(ax: Axes, title: str, note: str = "") -> None:
    """A title aligned left, with a quieter second line."""
    above = ax.set_title(drawable(title), loc="left", pad=_NOTE_POINTS if note else 6, **text(size=9))
    _keep_inside(ax, above)
    if note:
        below = ax.annotate(
            drawable(note), (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points",
            **text(size=7.5, color=SOFT),
        )  # fmt: skip
        _keep_inside(ax, below)


def replace_title(ax: Axes, title: str) -> None:
    """Another title than that of `heading`, above the same note."""
    has_note = any(isinstance(one, Annotation) for one in ax.texts)
    ax.set_title(drawable(title), loc="left", pad=_NOTE_POINTS if has_note else 6, **text(size=9))


def show(ax: Axes, image: Array, *, sharp: bool = False) -> None:
    """A picture without ticks; ``sharp`` shows pixels as squares instead of smoothing them.

    One that ends in white has a hairline around it, or it would have no end on a white page.
    """
    ax.imshow(image, interpolation="nearest" if sharp else "antialiased")
    ax.set_axis_off()
    if is_white_around(image):
        height, width = image.shape[:2]
        ax.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=LINE, linewidth=0.8))


def is_white_around(image: Array) -> bool:
    """Whether at least half of one side of a picture uint8 (H, W, 3) is about white."""
    sides = (image[0], image[-1], image[:, 0], image[:, -1])
    return any((side.reshape(len(side), -1).min(axis=1) > NEARLY_WHITE).mean() >= 0.5 for side in sides)


def frame(ax: Axes) -> None:
    """A frame around a picture that stands out."""
    ax.add_patch(
        Rectangle((0, 0), 1, 1, transform=ax.transAxes, fill=False, edgecolor=ACCENT, linewidth=3, zorder=3)
    )


def outline(ax: Axes, box: Sequence[float]) -> None:
    """A box (left, top, right, bottom) in pixels of the picture in ``ax``, legible on any ground."""
    left, top, right, bottom = (side - 0.5 for side in box)  # a pixel's center is a whole number
    for color, width in (("white", 2.6), (INK, 1.2)):
        ax.add_patch(
            Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=color, linewidth=width)
        )


def color_bar(ax: Axes, scale: Scale, label: str, *, width: float = 0.04) -> None:
    """A color bar as high as the picture, with an arrow where values were clipped; ``width`` is a share of it.

    It lies to the right of the axes, where a layout engine makes room for it. Without one it would cover the axes
    beside it, so it gets a part of its own axes.
    """
    left, height = 1 + 0.75 * width, 1.0
    if not _makes_room(ax):
        taken = min(0.4, _BAR_POINTS / _width_in_points(ax))
        first, last = ax.get_xlim()
        ax.set_xlim(first, first + (last - first) / (1 - taken))
        left, width = (1 - taken) * left, (1 - taken) * width
    place = ax.inset_axes((left, 0, width, height))
    mappable = ScalarMappable(Normalize(scale.low, scale.high), scale.map)
    bar = ax.figure.colorbar(mappable, cax=place, extend=scale.extend, extendfrac=0.04)
    bar.outline.set(edgecolor=LINE, linewidth=0.5)  # or a pale end would vanish on white
    bar.locator = MaxNLocator(4, symmetric=scale.is_signed)
    bar.update_ticks()
    place.tick_params(labelsize=7, labelcolor=SOFT, color=LINE, length=2, labelfontfamily=FONT)
    place.yaxis.get_offset_text().set(size=7, color=SOFT)
    place.set_ylabel(fold(label, 34), **text(size=7.5, color=SOFT))


_BAR_POINTS = 46  # of a color bar with its numbers and its label


def _makes_room(ax: Axes) -> bool:
    """Whether a layout engine makes room for what lies beside these axes."""
    figure = ax.get_figure(root=True)
    return figure is not None and figure.get_layout_engine() is not None


def _width_in_points(ax: Axes) -> float:
    figure = ax.get_figure(root=True)
    assert figure is not None
    ax.apply_aspect()
    return 72 * float(ax.get_window_extent().width) / figure.dpi


def _keep_inside(ax: Axes, line: Text) -> None:
    """Cut a line above axes that would run into the axes beside them, where no layout engine keeps them apart."""
    figure, full = ax.get_figure(root=True), line.get_text()
    if figure is None or _makes_room(ax) or len(figure.axes) < 2:
        return
    room = _width_in_points(ax) * figure.dpi / 72
    for length in range(len(full) - 1, 3, -1):
        if line.get_window_extent().width <= room:
            break
        line.set_text(full[:length].rstrip() + "…")


def plain_labels(ax: Axes) -> None:
    """Show the text of ticks and legend literally: "$" and "_" in a name are no mathematics."""
    legend = ax.get_legend()
    for label in (*ax.get_xticklabels(), *ax.get_yticklabels(), *(legend.get_texts() if legend else ())):
        label.set_parse_math(False)


def plain_axes(ax: Axes, *, grid: str | None = None) -> None:
    """Axes of a chart: no box, quiet ticks, and a pale grid only along the axis ``grid``."""
    ax.spines[["top", "right", "left", "bottom"]].set_visible(False)
    ax.tick_params(labelsize=7.5, labelcolor=SOFT, color=LINE, length=0, labelfontfamily=FONT)
    if grid is not None:
        ax.grid(True, axis=grid, color=LINE, linewidth=0.6)  # type: ignore[arg-type]
        ax.set_axisbelow(True)


def text(*, size: float = 8, color: str = INK, weight: str = "normal") -> dict[str, Any]:
    """The keywords of every text, which is shown literally: "$" and "_" in a name are no mathematics."""
    return {"fontsize": size, "color": color, "fontweight": weight, "fontfamily": FONT, "parse_math": False}


def decimal(value: float) -> str:
    """A number with two decimals; one that rounds to zero has no sign."""
    return f"{round(float(value), 2) + 0.0:.2f}"


def short_name(name: str, width: int = 30) -> str:
    """The last part of a path; a long one loses its middle."""
    name = PurePath(name).name or name
    keep = width // 2 - 1
    return name if len(name) <= width else f"{name[:keep]}…{name[-keep:]}"


# What the names of a `Detection` and of a `Region` add to that of the class.
_PLACE = re.compile(r"(?P<box> at \(.*)|( at row \d+, column \d+|, where it is seen| in a region)$")


def short_label(label: str, width: int = 34) -> str:
    """The first synonym of an ImageNet label, of both of a contrast; a long one is cut.

    Of a part of a segmentation map, its place is added if there is room for it; a box is drawn, and left out.
    """
    place = _PLACE.search(label)
    names = label[: place.start() if place else None].split(" rather than ")
    first = " rather than ".join(name.split(",")[0] for name in names)
    if place and first and not place["box"] and len(first + place[0]) <= width:
        return first + place[0]
    whole = first or label
    cut = textwrap.shorten(whole, width, placeholder="…") or label[:width]
    return cut if cut != "…" else f"{whole.strip()[: width - 1]}…"  # a first word that is too long is cut itself


# Names that take more than replacing underscores.
_TITLES = {
    "deep_lift": "DeepLIFT", "eigen_cam": "Eigen-CAM", "grad_cam": "Grad-CAM", "grad_cam_plus_plus": "Grad-CAM++",
    "guided_grad_cam": "guided Grad-CAM", "kernel_shap": "Kernel SHAP", "layer_cam": "Layer-CAM", "lime": "LIME",
    "lrp": "LRP", "rise": "RISE", "road": "ROAD", "score_cam": "Score-CAM", "smoothgrad": "SmoothGrad",
    "vargrad": "VarGrad",
}  # fmt: skip


def in_words(name: str) -> str:
    """The name of a method or measure as people write it; that of a layer, after an "@", stays as it is."""
    name, at, layer = name.partition(" @ ")
    return _TITLES.get(name, name.replace("_", " ")) + at + layer


def capital(words: str) -> str:
    """The same words with a capital letter first."""
    return words[:1].upper() + words[1:]


_NO_BREAK = "\N{NO-BREAK SPACE}"
_UNIT = re.compile(r"(\d) ((?:s|ms|px|%)(?!\w))")


def fold(line: str, width: int) -> str:
    """The text in lines of at most so many characters; a number and its unit stay on one line."""
    held = _UNIT.sub(rf"\1{_NO_BREAK}\2", drawable(line))
    return textwrap.fill(held, max(20, width)).replace(_NO_BREAK, " ")


def drawable(line: str) -> str:
    """The text with a replacement character for each that the font cannot draw, which would raise a warning."""
    return "".join(c if c == "\n" or _has_glyph(c) else "\ufffd" for c in line)


@cache
def _has_glyph(character: str) -> bool:
    return character.isprintable() and get_font(findfont(FontProperties(FONT))).get_char_index(ord(character)) > 0


def pick(n: int | Sequence[int] | None, count: int, limit: int) -> list[int]:
    """The images that ``n`` chooses; for None the first ones, up to the limit."""
    if n is None:
        return list(range(min(count, limit)))
    chosen = [n] if isinstance(n, int) else list(n)
    if not chosen:
        raise ParameterError("n=[]: expected at least one image")
    for i in chosen:
        if not 0 <= i < count:
            raise ParameterError(f"n={i}: the result holds {count} images, 0 to {count - 1}")
    return chosen


def cut_note(shown: int, count: int, what: str) -> list[str]:
    """A line that says what was left out, if anything was."""
    return [f"The first {shown} of {count} {what} are shown."] if shown < count else []
