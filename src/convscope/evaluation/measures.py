"""What can be measured of a map, which way is better, and who proposed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import as_array, as_choice
from ..errors import ParameterError
from ..perturbation import NAMED
from ..results import Array


@dataclass(frozen=True)
class Measure:
    """One way to judge a map: ``text`` says what it is, ``source`` whose."""

    higher_is_better: bool
    text: str
    source: str


_RISE = "Petsiuk, Das, Saenko 2018, arXiv 1806.07421"
_DELETION = "area under the score while the highest pixels are replaced by the baseline"
_INSERTION = "area under the score while the highest pixels are put into the baseline"
MEASURES: dict[str, Measure] = {
    **{f"deletion_{name}": Measure(False, f"{_DELETION} {name!r}", _RISE) for name in NAMED},
    **{f"insertion_{name}": Measure(True, f"{_INSERTION} {name!r}", _RISE) for name in NAMED},
    "road": Measure(
        True,
        "score without the lowest pixels minus score without the highest, filled in from their neighbors",
        "Rong et al. 2022, arXiv 2202.00449",
    ),
    "max_sensitivity": Measure(
        False, "how far the map moves with a little noise, of its own size", "Yeh et al. 2019, arXiv 1901.09392"
    ),
    "completeness_error": Measure(
        False,
        "how far the map's sum is from the difference of the scores it should add up to",
        "Sundararajan, Taly, Yan 2017, arXiv 1703.01365",
    ),
    "sparseness": Measure(
        True,
        "Gini index of the absolute values: 0 spread evenly, 1 in one pixel",
        "Chalasani et al. 2018, arXiv 1810.06583",
    ),
    "pointing": Measure(
        True, "share of images whose highest pixel lies in the region", "Zhang et al. 2016, arXiv 1608.00507"
    ),
    "localization": Measure(
        True, "share of the positive values that lies in the region", "Wang et al. 2019, arXiv 1910.01279"
    ),
}

OVER = ("mean", "blur")  # what curves go over unless another baseline is asked for
NEED_REGIONS = ("pointing", "localization")


def curve_names(baselines: Sequence[str]) -> tuple[str, ...]:
    """The measures along curves over some baselines."""
    return tuple(f"{kind}_{name}" for kind in ("deletion", "insertion") for name in baselines)


CURVES = curve_names(OVER)


def curve_baselines(measures: Sequence[str]) -> tuple[str, ...]:
    """What the curves of some measures go over: `OVER`, or just those that are asked for."""
    asked = tuple(name for name in NAMED if set(curve_names([name])) & set(measures))
    return OVER if set(asked) <= set(OVER) else asked


def check_measures(measures: object, *, has_regions: bool) -> tuple[str, ...]:
    """The names of the measures; where none are given all that can be taken, with the curves over `OVER`."""
    if measures is None:
        left_out = {*curve_names(NAMED)} - {*CURVES} | (set() if has_regions else {*NEED_REGIONS})
        return tuple(name for name in MEASURES if name not in left_out)
    if isinstance(measures, str) or not isinstance(measures, Sequence) or not measures:
        raise ParameterError(f"measures={measures!r}: expected a list of names")
    for name in measures:
        as_choice(name, "measures", tuple(MEASURES))
        if name in NEED_REGIONS and not has_regions:
            raise ParameterError(f"measures: {name!r} needs regions=, the boxes or masks of what is to be found")
    return tuple(dict.fromkeys(measures))


def sparseness(values: Array) -> float:
    """The Gini index of |values|; 0 for a map of zeros."""
    ordered = np.sort(np.abs(values.ravel()).astype(np.float64))
    n, total = len(ordered), ordered.sum()
    if not total:
        return 0.0
    return float(1 - 2 * ((ordered / total) * (n - np.arange(1, n + 1) + 0.5) / n).sum())


def pointing(values: Array, region: Array) -> float:
    """1 where the highest pixel of a map lies in the region (H, W); shared out where several are as high."""
    return float(region[values == values.max()].mean())


def localization(values: Array, region: Array) -> float:
    """The share of the positive values in the region (H, W); NaN where nothing is positive."""
    positive = np.maximum(values.astype(np.float64), 0)
    return float(positive[region].sum() / positive.sum()) if positive.any() else float("nan")


def regions_of(regions: Any, n_images: int, size: tuple[int, int]) -> Array | None:
    """Masks (N, H, W), as they are or from boxes (N, 4): left, top, right, bottom in pixels of the input.

    A pixel is in a box where its middle is.
    """
    if regions is None:
        return None
    given: Array = as_array(regions, "regions", "masks (N, H, W) of booleans, or boxes (N, 4)")
    if given.shape == (n_images, *size) and given.dtype == np.bool_:
        masks = given
    elif given.shape == (n_images, 4) and np.issubdtype(given.dtype, np.number):
        rows, columns = np.arange(size[0])[None, :, None] + 0.5, np.arange(size[1])[None, None, :] + 0.5
        left, top, right, bottom = (side[:, None, None] for side in given.T)
        masks = (rows > top) & (rows < bottom) & (columns > left) & (columns < right)
    else:
        raise ParameterError(
            f"regions of shape {given.shape} and {given.dtype}; expected masks ({n_images}, {size[0]}, {size[1]}) "
            f"of booleans, or boxes ({n_images}, 4): left, top, right, bottom in pixels of the network's input"
        )
    if not masks.any(axis=(1, 2)).all():
        raise ParameterError("regions: one of them is empty")
    return masks
