"""Perturbation: parts of an image are hidden, and the network is run on what is left, fast and exactly."""

from .baselines import NAMED, Baseline, baseline_of, describe_baseline
from .batches import score_variants
from .borders import hiding
from .curves import Curves, curves, n_variants, ranks
from .engines import Engine, Precision, Variants
from .masks import Masks, Shape, check_windows, given, superpixels, tried_windows, windows
from .scores import EXACT, ROUGH, Scorer, finite
from .signs import SIGNS, SLIGHT, SignNote, other_baseline, strongest

__all__ = [
    "EXACT",
    "NAMED",
    "ROUGH",
    "SIGNS",
    "SLIGHT",
    "Baseline",
    "Curves",
    "Engine",
    "Masks",
    "Precision",
    "Scorer",
    "Shape",
    "SignNote",
    "Variants",
    "baseline_of",
    "check_windows",
    "curves",
    "describe_baseline",
    "finite",
    "given",
    "hiding",
    "n_variants",
    "other_baseline",
    "ranks",
    "score_variants",
    "strongest",
    "superpixels",
    "tried_windows",
    "windows",
]
