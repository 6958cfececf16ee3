"""Max-sensitivity: how far a map moves when its image does, a little."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import torch

from ..attribution import ATTRIBUTIONS
from ..attribution.method_run import Run
from ..attribution.scored import ScoredImage
from ..perturbation import NAMED
from ..results import Attribution

_NOISE_SHARE = 0.02  # of the image's range: how far a pixel is moved, at most
_TRIED = 5  # noisy images


def max_sensitivity(run: Run, given: Attribution, i: int, image: ScoredImage, seed: int) -> float | None:
    """max over noisy images x' of |map(x') - map(x)| / |map(x)|, Frobenius norms.

    Args:
        run: of `evaluate`.
        given: whose method is run again.
        i: the number of its map.
        image: what that map is of.
        seed: of the noise, uniform up to 2 % of the image's range.

    Returns:
        NaN for a map of zeros; None where the options of the method are not known.

    References:
        Yeh, Hsieh, Suggala, Inouye, Ravikumar: On the (in)fidelity and sensitivity of explanations, 2019,
        arXiv 1901.09392.
    """
    options = options_of(given)
    if options is None:
        return None
    size = float(np.linalg.norm(given.values[i]))
    if not size:
        return math.nan
    x = image.x
    reach = _NOISE_SHARE * float(x.max() - x.min())
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(_TRIED, *x.shape, generator=generator, dtype=torch.float32, device="cpu").to(x)
    moved = (x + reach * (2 * noise - 1)).contiguous()
    target = run.target
    if image.targets.indices is not None and image.targets.against is None:
        target = int(image.targets.indices[0])
    elif isinstance(target, list | tuple):
        target = target[image.position]
    found = ATTRIBUTIONS[given.provenance.method](run.model, moved, target=target, **options)
    return max(float(np.linalg.norm(values - given.values[i])) for values in found.values) / size


def options_of(given: Attribution) -> dict[str, Any] | None:
    """The options to run a method again with, on tensors; None where provenance does not hold all of them."""
    method, parameters = ATTRIBUTIONS.get(given.provenance.method), given.provenance.parameters
    if method is None:
        return None
    known = inspect.signature(method).parameters
    options = {k: v for k, v in parameters.items() if k in known and k != "target" and v is not None}
    windows, baselines = options.get("windows"), options.get("baseline")
    if isinstance(baselines, tuple):
        options["baseline"] = list(baselines)  # lists come back from a saved result as tuples
    if isinstance(windows, tuple):
        options["windows"] = list(windows)
    for baseline in baselines if isinstance(baselines, list | tuple) else [baselines]:
        if baseline not in (None, *NAMED):  # an image; a number means another thing on tensors
            return None
    return None if str(options.get("shape", "")).endswith("masks") else options
