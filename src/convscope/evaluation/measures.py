"""The measures of a map: each is one function, registered with its direction, its unit and its source.

A measure takes the `MapsOfImage` of one image and gives the value (R,) of each of its R maps, NaN where it does
not apply. Tables, rankings and pictures read the rest from here; a new measure is a new function in this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np

from ..checks import as_choice
from ..errors import ParameterError
from ..perturbation import NAMED
from ..results import Array, Attribution
from .maps_of_image import MapsOfImage
from .road import SHARES, road_scores
from .sensitivity import max_sensitivity_of

Direction: TypeAlias = Literal["higher", "lower"]
Function = TypeVar("Function", bound=Callable[..., Array])


@dataclass(frozen=True)
class Measure:
    """One way to judge a map.

    ``of`` gives its values, ``text`` says what they are, ``direction`` which are better, ``unit`` what they are
    measured in, and ``source`` who proposed it. ``baseline`` is that of a curve; ``n_scores`` counts the scores
    that a map costs beside its curves.
    """

    of: Callable[[MapsOfImage], Array]
    text: str
    direction: Direction
    unit: str
    source: str
    baseline: str | None = None
    needs_regions: bool = False
    needs_pictures: bool = False
    n_scores: int = 0

    @property
    def higher_is_better(self) -> bool:
        return self.direction == "higher"


MEASURES: dict[str, Measure] = {}


def measure(
    *,
    direction: Direction,
    unit: str,
    source: str,
    over: Sequence[str] = (),
    needs_regions: bool = False,
    needs_pictures: bool = False,
    n_scores: int = 0,
) -> Callable[[Function], Function]:
    """Enter a function into `MEASURES` under its name, with its docstring as the text.

    With ``over``, enter it once for each of these baselines, as "deletion_mean".
    """

    def enter(function: Function) -> Function:
        name, text = function.__name__, (function.__doc__ or "").rstrip(".")
        about = Measure(function, text, direction, unit, source, None, needs_regions, needs_pictures, n_scores)
        if not over:
            MEASURES[name] = about
        for baseline in over:
            of = partial(function, baseline=baseline)
            MEASURES[f"{name}_{baseline}"] = replace(about, of=of, text=f"{text} {baseline!r}", baseline=baseline)
        return function

    return enter


@measure(direction="lower", unit="score", source="Petsiuk, Das, Saenko 2018, arXiv 1806.07421", over=NAMED)
def deletion(maps: MapsOfImage, baseline: str) -> Array:
    """Area under the score while the highest pixels are replaced by the baseline."""
    return maps.areas["deletion", baseline]


@measure(direction="higher", unit="score", source="Petsiuk, Das, Saenko 2018, arXiv 1806.07421", over=NAMED)
def insertion(maps: MapsOfImage, baseline: str) -> Array:
    """Area under the score while the highest pixels are put into the baseline."""
    return maps.areas["insertion", baseline]


@measure(
    direction="higher",
    unit="score",
    source="Rong et al. 2022, arXiv 2202.00449",
    needs_pictures=True,
    n_scores=2 * len(SHARES),
)
def road(maps: MapsOfImage) -> Array:
    """Score without the lowest pixels minus score without the highest, filled in from their neighbors."""
    return road_scores(maps.x, maps.orders, maps.image.score_variants, maps.seed)


@measure(direction="lower", unit="share of the map", source="Yeh et al. 2019, arXiv 1901.09392")
def max_sensitivity(maps: MapsOfImage) -> Array:
    """Largest change of the map when the image gets a little noise, relative to the map."""

    def value_of(given: Any) -> float:
        if not isinstance(given, Attribution):
            return float("nan")
        value = max_sensitivity_of(given, maps.number, maps.image, maps.target, maps.seed)
        if value is None:
            needs = "all options of the method, as names, and one input"
            maps.note(f"{given.provenance.method}: max_sensitivity needs {needs}")
            return float("nan")
        return value

    return maps.with_controls([value_of(given) for given in maps.given])


@measure(
    direction="lower",
    unit="share of the score's change",
    source="Sundararajan, Taly, Yan 2017, arXiv 1703.01365",
)
def completeness_error(maps: MapsOfImage) -> Array:
    """Distance of the map's sum from the difference of scores that it should add up to."""

    def value_of(given: Any) -> float:
        is_result = isinstance(given, Attribution)
        errors = given.provenance.measured.get("completeness_error") if is_result else None
        return float(errors[maps.number]) if errors else float("nan")

    return maps.with_controls([value_of(given) for given in maps.given])


@measure(direction="higher", unit="Gini index", source="Chalasani et al. 2018, arXiv 1810.06583")
def sparseness(maps: MapsOfImage) -> Array:
    """Gini index of the absolute values: 0 spread evenly, 1 in one pixel."""
    return np.array([gini(values) for values in maps.maps])


@measure(
    direction="higher", unit="share of images", source="Zhang et al. 2016, arXiv 1608.00507", needs_regions=True
)
def pointing(maps: MapsOfImage) -> Array:
    """Share of images whose highest pixel lies in the region."""
    assert maps.region is not None
    return np.array([hit(values, maps.region) for values in maps.maps])


@measure(
    direction="higher",
    unit="share of the positive values",
    source="Wang et al. 2019, arXiv 1910.01279",
    needs_regions=True,
)
def localization(maps: MapsOfImage) -> Array:
    """Share of the positive values that lies in the region."""
    assert maps.region is not None
    return np.array([share_inside(values, maps.region) for values in maps.maps])


def gini(values: Array) -> float:
    """The Gini index of |values|; 0 for a map of zeros."""
    ordered = np.sort(np.abs(values.ravel()).astype(np.float64))
    n, total = len(ordered), ordered.sum()
    if not total:
        return 0.0
    return float(1 - 2 * ((ordered / total) * (n - np.arange(1, n + 1) + 0.5) / n).sum())


def hit(values: Array, region: Array) -> float:
    """1 if the highest pixel of a map lies in the region (H, W), else 0; of several highest, the share inside."""
    return float(region[values == values.max()].mean())


def share_inside(values: Array, region: Array) -> float:
    """The share of the positive values that lies in the region (H, W); NaN if none is positive."""
    positive = np.maximum(values.astype(np.float64), 0)
    return float(positive[region].sum() / positive.sum()) if positive.any() else float("nan")


OVER = ("mean", "blur")  # the baselines of curves, unless others are asked for


def curve_names(baselines: Sequence[str]) -> tuple[str, ...]:
    """The measures along curves over some baselines."""
    return tuple(f"{kind}_{name}" for kind in ("deletion", "insertion") for name in baselines)


CURVES = curve_names(OVER)


def curve_baselines(names: Sequence[str]) -> tuple[str, ...]:
    """The baselines of the curves for these measures: `OVER`, or the ones asked for if others are among them."""
    asked = {MEASURES[name].baseline for name in names} - {None}
    return OVER if asked <= {*OVER} else tuple(name for name in NAMED if name in asked)


def check_measures(names: object, *, has_regions: bool, of_pictures: bool = True) -> tuple[str, ...]:
    """The names of the measures to take; by default all that can be, with curves over `OVER` only."""
    if names is None:
        return tuple(
            name
            for name, about in MEASURES.items()
            if about.baseline in (None, *OVER)
            and (has_regions or not about.needs_regions)
            and (of_pictures or not about.needs_pictures)
        )
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise ParameterError(f"measures={names!r}: expected a list of names")
    for name in names:
        about = MEASURES[as_choice(name, "measures", tuple(MEASURES))]
        if about.needs_regions and not has_regions:
            raise ParameterError(f"measures: {name!r} needs regions=, the boxes or masks of what is to be found")
        if about.needs_pictures and not of_pictures:
            raise ParameterError(f"measures: {name!r} needs pictures (N, C, H, W)")
    return tuple(dict.fromkeys(names))
