"""Perturbation: hide parts of an image and score what is left, fast and exactly.

`masks` defines the parts, `baselines` what replaces them. `dense_scores` runs the whole network on every variant,
`incremental_scores` only what a mask changes, and `engine_choice` decides between them. `curves` removes or
inserts pixels in the order of a map; `borders` and `signs` note where the baseline determines what a map shows.
"""

from .baselines import NAMED, Baseline, baseline_of, describe_baseline
from .borders import hiding
from .curves import Curves, ScoreVariants, curves, n_variants, ranks
from .dense_scores import EXACT, ROUGH, score_variants
from .engine_choice import Scorer
from .masks import Masks, Shape, check_windows, given, superpixels, tried_windows, windows
from .score_checks import finite
from .signs import SIGNS, SLIGHT, SignNote, other_baseline, strongest
from .variants import Engine, Variants

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
