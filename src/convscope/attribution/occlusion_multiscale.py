"""Which pixels matter, by hiding windows of several sizes: their mean, or the size that fits the image best."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ..checks import Precision, Sides, as_sides, unfit
from ..models import Model
from ..perturbation import Baseline, Engine, Shape, curves, n_variants, ranks, tried_windows
from ..progress import Progress
from ..registry import register, tried_by
from ..results import Attribution
from ..targets import Score, Target
from .method_run import Run
from .occluding import Occluder, averaged, masks_for
from .scored import ScoredImage

_STEPS = 12  # of the insertion and deletion curves that windows="auto" decides by


@register
@tried_by(None)
def occlusion_multiscale(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    windows: list[int | Sides] | Literal["auto"] = "auto",
    stride: int | Sides | None = None,
    baseline: Baseline = "mean",
    shape: Shape = "rectangle",
    score: Score = "logit",
    engine: Engine = "auto",
    precision: Precision = "float32",
    seed: int = 0,
    progress: Progress | None = None,
) -> Attribution:
    """How far the score falls when a part of the image is hidden, by windows of several sizes.

    What occlusion finds depends on the size of its window. "auto" tries five sizes, 16 to 64 of 224 px, and takes
    for each image the one whose map says most about its score. A list of sizes gives the mean of their maps.

        auto:   the map of `occlusion` with the largest insertion minus deletion area, in scores over the baseline
        a list: mean over the windows w of (map of `occlusion` with w) / (share of the image that w hides)

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        windows: "auto", or sizes in pixels of the network's input, each one number or (height, width).
        stride: pixels from one window to the next, at most the smallest window; by default half of each window.
        baseline: what replaces hidden pixels: "mean" (0 after normalization), "blur", "noise", "black", "white",
            an image, or a number: 0 (black) to 1 (white) for pictures, in normalized units for a preprocessed
            tensor. Notes as for `convscope.occlusion`.
        shape: "rectangle"; "ellipse", inscribed in the window; or "superpixel", each hidden once, about as large
            as the window.
        score: "logit" (before softmax) or "probability".
        engine: how the network is run, as `convscope.occlusion` takes it.
        precision: "float32", exact, or "bfloat16", faster on processors that support it, with an error that is
            measured.
        seed: of the noise baseline.
        progress: called with (windows done, windows in all).

    Returns:
        `Attribution` with values (N, H, W), signed. "auto": in score units; ``provenance.measured["windows"]``
        has the size that each image got. A list: in score units for the whole image; ``layers`` has the map of
        each size, in score units. The rest of ``provenance.measured`` is that of `convscope.occlusion`.

    Raises:
        ParameterError: no window, one larger than the image, a stride larger than a window.
        TargetError: the target is not a class of the network.
        Interrupted: on Ctrl-C, with the finished images.

    Cost: that of `convscope.occlusion` with each size. "auto": 1,352 windows on a 224-px image, and 112 forward
    passes for the curves that decide.

    Example:
        >>> total = nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False))
        >>> _ = nn.init.ones_(total[1].weight)
        >>> found = occlusion_multiscale(total, torch.ones(1, 1, 4, 4), windows=[2, 4])
        >>> found.values[0, 0]  # each window in proportion to its size: the whole image is worth 16
        array([16., 16., 16., 16.], dtype=float32)
        >>> list(found.layers)
        ['window 2 x 2', 'window 4 x 4']

    References:
        Zeiler, Fergus: Visualizing and understanding convolutional networks, 2013, arXiv 1311.2901.
        Petsiuk, Das, Saenko: RISE, 2018, arXiv 1806.07421 (insertion and deletion).
    """
    is_auto = isinstance(windows, str)
    run = Run(
        "occlusion_multiscale",
        model,
        images,
        target=target,
        score=score,
        unit=f"fall of the score when hidden{'' if is_auto else ', for the whole image'} ({score})",
        gradients="none",
        progress=progress,
    )
    size = run.inputs.shape[1:]
    sizes = tried_windows(size) if isinstance(windows, str) else windows
    each = list(dict.fromkeys(as_sides(window, "windows", len(size)) for window in sizes))
    if not each:
        raise unfit(windows, "windows", "'auto' or one size at least")
    every_masks_of = [masks_for(shape, size, window, stride)[0] for window in each]
    run.describe(shape=shape, windows="auto" if is_auto else each, stride=stride)
    occluder = Occluder(run, baseline=baseline, engine=engine, precision=precision, seed=seed)

    def maps_of(image: ScoredImage) -> torch.Tensor:
        every = [masks_of(image.pixels) for masks_of in every_masks_of]
        run.steps.each = sum(map(len, every))
        run.steps.each += n_variants(len(every) * image.targets.n_each, 1, _STEPS) if is_auto else 0
        behind = occluder.hide(image.x)
        drops = [occluder.drops(image, behind, masks) for masks in every]
        maps = [averaged(of_one, masks, size) for of_one, masks in zip(drops, every, strict=True)]
        best = _most_faithful(image, behind, maps) if is_auto else 0
        occluder.remark(image, every[best], drops[best])  # of a list, the first window
        if is_auto:
            run.measured.setdefault("windows", []).append(sizes[best])
            return maps[best]
        return _mean_of_shares(run, maps, each, size)

    return run.by_image(maps_of)


def _most_faithful(image: ScoredImage, behind: torch.Tensor, maps: list[torch.Tensor]) -> int:
    """Which of several maps (T, H, W) of an image has the largest insertion minus deletion area, all targets."""
    orders = [ranks(values.numpy()) for of_one in maps for values in of_one]
    below, above = curves(image.x, [behind], orders, _STEPS, image.score_variants).areas()
    advantages = (above - below)[:, 0].reshape(len(maps), -1, len(maps[0]))
    # Of each target the curves of its own map: the diagonal.
    totals = np.trace(advantages, axis1=1, axis2=2)
    return int(np.nan_to_num(totals, nan=-np.inf).argmax())  # the score of a part may be NaN


def _mean_of_shares(run: Run, maps: list[torch.Tensor], windows: list[Sides], size: Sides) -> torch.Tensor:
    """The mean of maps (T, H, W), each divided by the share of the image its window hides, and kept as a layer."""
    scaled = []
    for values, window in zip(maps, windows, strict=True):
        run.layers.setdefault(f"window {' x '.join(map(str, window))}", []).extend(values.float().numpy())
        scaled.append(values / (math.prod(window) / math.prod(size)))
    return torch.stack(scaled).mean(dim=0)
