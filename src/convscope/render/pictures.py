"""A picture of any result, by a table of what draws which kind."""

from __future__ import annotations

import base64
import inspect
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..arguments import checks_arguments
from ..checks import shown
from ..errors import ParameterError
from ..outputs import GENERATOR, check_output, replace_file
from ..results import (
    Array,
    Atlas,
    Attribution,
    Comparison,
    Concepts,
    Duplicates,
    Evaluation,
    FeatureMaps,
    Feeds,
    Filters,
    Inversion,
    MaskStudy,
    Necessity,
    Neighbors,
    Prediction,
    Projection,
    Result,
    Retrieval,
    SanityCheck,
    StoreComparison,
    Suspects,
    TrainingStrip,
    UnitPage,
    UnitPatches,
    UnitScan,
    Visualization,
)
from .attribution_figures import compose_attribution, draw_attribution
from .attribution_panels import draw_map
from .comparison_figures import compose_comparison, draw_comparison
from .concept_figures import compose_concepts, draw_concepts
from .duplicate_figures import compose_duplicates, draw_duplicates
from .evaluation_figures import compose_evaluation, draw_evaluation
from .feature_map_figures import compose_feature_maps, draw_feature_maps
from .filter_figures import compose_filters, draw_filters
from .map_panels import show_input
from .mask_study_figures import compose_mask_study, draw_mask_study
from .neighbor_figures import compose_neighbors, draw_neighbors
from .prediction_figures import compose_prediction, draw_prediction
from .projection_figures import compose_projection, draw_projection
from .retrieval_figures import compose_retrieval, draw_retrieval
from .sanity_figures import compose_sanity_check, draw_sanity_check
from .store_comparison_figures import compose_store_comparison, draw_store_comparison
from .strip_figures import compose_training_strip, draw_training_strip
from .style import new_figure, replace_title
from .suspect_figures import compose_suspects, draw_suspects
from .synthesis_figures import compose_atlas, compose_inversion, draw_atlas, draw_inversion
from .unit_cause_figures import compose_feeds, compose_necessity, draw_feeds, draw_necessity
from .unit_figures import compose_unit_patches, compose_unit_scan, draw_unit_patches, draw_unit_scan
from .unit_page_figures import compose_unit_page, draw_unit_page
from .visualization_figures import compose_visualization, draw_visualization

# kind of result -> (draws its main panel into axes, composes the whole figure)
PICTURES: dict[type[Result], tuple[Callable[..., None], Callable[..., Figure]]] = {
    Atlas: (draw_atlas, compose_atlas),
    Attribution: (draw_attribution, compose_attribution),
    Comparison: (draw_comparison, compose_comparison),
    Concepts: (draw_concepts, compose_concepts),
    Duplicates: (draw_duplicates, compose_duplicates),
    Evaluation: (draw_evaluation, compose_evaluation),
    FeatureMaps: (draw_feature_maps, compose_feature_maps),
    Feeds: (draw_feeds, compose_feeds),
    Filters: (draw_filters, compose_filters),
    Inversion: (draw_inversion, compose_inversion),
    MaskStudy: (draw_mask_study, compose_mask_study),
    Necessity: (draw_necessity, compose_necessity),
    Neighbors: (draw_neighbors, compose_neighbors),
    Prediction: (draw_prediction, compose_prediction),
    Projection: (draw_projection, compose_projection),
    Retrieval: (draw_retrieval, compose_retrieval),
    SanityCheck: (draw_sanity_check, compose_sanity_check),
    StoreComparison: (draw_store_comparison, compose_store_comparison),
    Suspects: (draw_suspects, compose_suspects),
    TrainingStrip: (draw_training_strip, compose_training_strip),
    UnitPage: (draw_unit_page, compose_unit_page),
    UnitPatches: (draw_unit_patches, compose_unit_patches),
    UnitScan: (draw_unit_scan, compose_unit_scan),
    Visualization: (draw_visualization, compose_visualization),
}
DPI = 150


@checks_arguments
def plot(result: Result, ax: Axes | None = None, *, title: str | None = None, **options: Any) -> Axes:
    """Draw the main panel of a result into axes, by default of a new pyplot figure. Never calls show.

    Args:
        result: any result.
        ax: matplotlib axes to draw into.
        title: in place of the one that says what is drawn.
        **options: ``n``, the image (attributions, feature maps, predictions, strips), the images (suspects), the
            queries (neighbors) or the groups (duplicates); ``maps`` (suspects);
            ``as_video`` (attributions of volumes: frames in place of planes); ``cmap``, ``alpha`` (attributions);
            ``layer`` (feature maps, scans); ``by``, ``channels``, ``channel`` (feature maps); ``scale``,
            ``tiles`` (filters); ``k`` (predictions); ``thumbnails`` (projections).

    Returns:
        The axes.
    """
    if ax is not None:
        _draw(result, ax, title, options)
        return ax
    from matplotlib import pyplot

    new, ax = pyplot.subplots(layout="constrained")
    try:
        _draw(result, ax, title, options)
    except BaseException:
        pyplot.close(new)  # an empty one would show up among the caller's
        raise
    return ax


def _draw(result: Result, ax: Axes, title: str | None, options: Mapping[str, Any]) -> None:
    if ax.name != "rectilinear":
        raise ParameterError(f"ax={shown(ax)}: expected plain axes, not those of a {ax.name!r} projection")
    draw, _ = _find(result)
    _check_options(draw, result, options)
    checks_arguments(draw)(ax, result, **options)
    if title is not None:
        replace_title(ax, title)


def figure(result: Result, **options: Any) -> Figure:
    """The complete picture of a result: all panels, headline and caption. Options are those of `plot`.

    Pyplot does not know the figure, so it needs no closing.
    """
    _, compose = _find(result)
    _check_options(compose, result, options)
    return checks_arguments(compose)(result, **options)


def save_png(result: Result, path: str | Path, *, overwrite: bool = False, **options: Any) -> Path:
    """Write the complete picture as a PNG file on white, which may replace a picture that convscope wrote.

    Raises:
        OutputError: another file is there and ``overwrite`` is False, or the file cannot be written.
    """
    check_output(path, overwrite=overwrite)
    replace_file(path, [_png(figure(result, **options))], overwrite=overwrite)
    return Path(path)


def data_uri(result: Result, **options: Any) -> str:
    """The complete picture as "data:image/png;base64,...", to be embedded in HTML."""
    return _uri(figure(result, **options))


def panel_uri(result: Attribution, n: int) -> str:
    """A signal, a volume or a vector with its map and its scale, for a page that writes the rest itself."""
    picture = new_figure(4.4, 2.2)
    draw_map(picture.subplots(), result, n)
    return _uri(picture)


def input_uri(signal: Array) -> str:
    """A signal (C, L) by itself."""
    picture = new_figure(4.4, 2.2)
    show_input(picture.subplots(), signal, 0)
    return _uri(picture)


def _uri(picture: Figure) -> str:
    return "data:image/png;base64," + base64.b64encode(_png(picture, dpi=110)).decode("ascii")


def _find(result: Result) -> tuple[Callable[..., None], Callable[..., Figure]]:
    for kind in type(result).__mro__:
        if kind in PICTURES:
            return PICTURES[kind]
    known = ", ".join(kind.__name__ for kind in PICTURES)
    raise ParameterError(f"a {type(result).__name__} has no picture; these have: {known}")


def _check_options(draw: Callable[..., Any], result: Result, options: Mapping[str, Any]) -> None:
    """`ParameterError` for options that a function lacks; Python's own names it, and users know only `plot`."""
    known = [p.name for p in inspect.signature(draw).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if wrong := [name for name in options if name not in known]:
        few = f"takes {', '.join(known)}" if known else "takes none"
        raise ParameterError(f"{wrong[0]}: no option of this picture; that of a {type(result).__name__} {few}")


def _png(picture: Figure, dpi: int = DPI) -> bytes:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.15, "facecolor": "white"}
    # By this name `outputs` recognizes a file that it may replace.
    picture.savefig(buffer, format="png", dpi=dpi, metadata={"Software": GENERATOR}, **options)
    return buffer.getvalue()
