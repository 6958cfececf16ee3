"""Attributions of several inputs that were explained together: a panel for each."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import Attribution
from .attribution_panels import draw_map, is_grainy, outline_target
from .style import heading, new_figure, short_label, short_name, show
from .vector_figures import BARS


def draw_inputs(ax: Axes, result: Attribution, n: int, note: str) -> None:
    """The inputs of image n, one below the other in the place of one panel."""
    ax.set_axis_off()
    heading(ax, _of_image(result, n), note)
    names = list(result.given)
    height = 1 / len(names)
    for place, name in enumerate(names):
        inside = ax.inset_axes((0.08, 1 - (place + 0.9) * height, 0.78, 0.58 * height))
        inside.set_anchor("W")
        _draw_input(inside, result.of_input(name), n, name)


def compose_inputs(result: Attribution, rows: Sequence[int], notes_of: Sequence[str]) -> tuple[Figure, list[str]]:
    """A row for each of these images with a panel for each input, and what to say below them."""
    parts = {name: result.of_input(name) for name in result.given}
    widths = [width for part in parts.values() for width in _widths(part)]
    figure = new_figure(max(5.0, sum(widths) + 0.7 * len(parts)), 0.9 + len(rows) * 3.1)
    every = figure.subplots(len(rows), len(widths), squeeze=False, gridspec_kw={"width_ratios": widths})
    for axes, n, note in zip(every, rows, notes_of, strict=True):
        following = iter(axes)
        title, before = _of_image(result, n), f"{note} · "
        for name, part in parts.items():
            if len(_widths(part)) > 1:
                ax = next(following)
                show(ax, part.images[n])
                outline_target(ax, part, n)
                heading(ax, title or name, f"{before}{name}, as the network saw it")
                title, before = "", ""
            _draw_input(next(following), part, n, title or name, f"{before}{name} " if before else "")
            title, before = "", ""
    notes = [f"Each input has a scale of its own{', in each row' if len(rows) > 1 else ''}."]
    if any(part.images.ndim == 2 and part.values.shape[1] > BARS for part in parts.values()):
        notes.append(f"Of a vector, the {BARS} strongest values are shown.")
    return figure, notes


def _widths(part: Attribution) -> list[float]:
    """The widths of an input's panels in inches: a photo and its map, or one."""
    if part.images.ndim == 2:
        return [2.6]
    return {1: [4.5], 2: [2.5, 2.5], 3: [6.0]}[part.values.ndim - 1]


def _draw_input(ax: Axes, part: Attribution, n: int, title: str, before: str = "") -> None:
    """The map of one input, and above it what its values add up to, or their range."""
    values = part.values[n]
    is_picture = part.images.ndim == 4 and part.values.ndim == 3
    draw_map(ax, part, n, alpha=1.0 if is_picture and is_grainy(values) else None)
    is_complete = "completeness_error" in part.provenance.measured  # so that sums mean something
    total = f"adds up to {values.sum():+.3g}" if is_complete else f"{values.min():.3g} to {values.max():.3g}"
    heading(ax, title, before + total)


def _of_image(result: Attribution, n: int) -> str:
    return f"{short_name(result.names[n])}: {short_label(result.targets[n])}"
