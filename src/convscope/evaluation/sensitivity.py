"""Max-sensitivity: how far a map moves when its image gets a little noise."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import torch

from ..attribution import ATTRIBUTIONS
from ..attribution.scored import ScoredImage
from ..perturbation import NAMED
from ..results import Attribution
from ..targets import Target

_NOISE_SHARE = 0.02  # of the image's range: the largest noise of a pixel
_TRIED = 5  # noisy images


def max_sensitivity_of(given: Attribution, i: int, image: ScoredImage, target: Target, seed: int) -> float | None:
    """max over noisy images x' of |map(x') - map(x)| / |map(x)|, Frobenius norms.

    Args:
        given: a result, whose method runs again.
        i: the index of the map in it.
        image: the image of that map.
        target: the target of the map, or of the maps of all images.
        seed: of the noise, which is uniform and at most 2 % of the image's range.

    Returns:
        NaN for a map of zeros; None if the options of the method are not known.

    References:
        Yeh, Hsieh, Suggala, Inouye, Ravikumar: On the (in)fidelity and sensitivity of explanations, 2019,
        arXiv 1901.09392.
    """
    options = options_of(given)
    if options is None or len(given.inputs) > 1:  # it knows of no other inputs
        return None
    size = float(np.linalg.norm(given.values[i]))
    if not size:
        return math.nan
    x = image.x
    reach = _NOISE_SHARE * float(x.max() - x.min())
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(_TRIED, *x.shape, generator=generator, dtype=torch.float32, device="cpu").to(x)
    moved = (x + reach * (2 * noise - 1)).contiguous()
    if image.targets.indices is not None and image.targets.against is None:
        target = int(image.targets.indices[0])
    elif isinstance(target, list | tuple):
        target = target[image.position]
    found = ATTRIBUTIONS[given.provenance.method](image.model, moved, target=target, **options)
    return max(float(np.linalg.norm(values - given.values[i])) for values in found.values) / size


def options_of(given: Attribution) -> dict[str, Any] | None:
    """The options to run a method again on tensors; None if the provenance does not hold all of them."""
    method, parameters = ATTRIBUTIONS.get(given.provenance.method), given.provenance.parameters
    if method is None:
        return None
    known = inspect.signature(method).parameters
    options = {k: v for k, v in parameters.items() if k in known and k != "target" and v is not None}
    windows, baselines = options.get("windows"), options.get("baseline")
    if isinstance(baselines, tuple):
        options["baseline"] = list(baselines)  # a saved result has tuples in place of lists
    if isinstance(windows, tuple):
        options["windows"] = list(windows)
    for baseline in baselines if isinstance(baselines, list | tuple) else [baselines]:
        if baseline not in (None, *NAMED):  # an image, or a number, which means something else for tensors
            return None
    return None if str(options.get("shape", "")).endswith("masks") else options
