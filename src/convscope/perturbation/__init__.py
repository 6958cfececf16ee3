"""Perturbation: hide parts of an image and score what is left, fast and exactly.

`masks` says which parts, `baselines` what shows in their place. `dense_scores` runs the whole network on every
variant, `incremental_scores` only what a mask changed, and `engine_choice` decides between them. `curves` removes
or inserts pixels in the order of a map; `borders` and `signs` tell when the baseline decides what a map shows.
"""

from .baselines import NAMED, Baseline, baseline_of, describe_baseline
from .borders import hiding
from .curves import Curves, ScoreVariants, curves, n_variants, ranks
from .dense_scores import EXACT, ROUGH, score_variants
from .engine_choice import Scorer
from .masks import Masks, Shape, check_windows, given, superpixels, tried_windows, windows
from .score_checks import finite
from .signs import SIGNS, SLIGHT, SignNote, other_baseline, strongest
from .variants import Engine, Precision, Variants

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
    "ScoreVariants",
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
