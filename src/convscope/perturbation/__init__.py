"""Perturbation: parts of an image are hidden, and the network is run on what is left, fast and exactly."""

from .baselines import Baseline, baseline_of, describe_baseline
from .batches import score_variants
from .curves import Curves, curves, n_variants, ranks
from .engines import Engine, Precision
from .masks import Masks, Shape, check_windows, given, superpixels, tried_windows, windows
from .scores import EXACT, ROUGH, Scorer, finite

__all__ = [
    "EXACT",
    "ROUGH",
    "Baseline",
    "Curves",
    "Engine",
    "Masks",
    "Precision",
    "Scorer",
    "Shape",
    "baseline_of",
    "check_windows",
    "curves",
    "describe_baseline",
    "finite",
    "given",
    "n_variants",
    "ranks",
    "score_variants",
    "superpixels",
    "tried_windows",
    "windows",
]
