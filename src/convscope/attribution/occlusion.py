"""Occlusion: how far the score falls when pixels are hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from ..checks import Precision, Sides
from ..models import Model
from ..perturbation import Baseline, Engine, Shape
from ..progress import Progress
from ..registry import register, tried_by
from ..results import Attribution
from ..targets import Score, Target
from .method_run import Run
from .occluding import Occluder, averaged, masks_for
from .scored import ScoredImage


@register
@tried_by(None)
def occlusion(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    window: int | Sides | None = None,
    stride: int | Sides | None = None,
    baseline: Baseline = "mean",
    shape: Shape | np.ndarray[Any, np.dtype[Any]] = "rectangle",
    score: Score = "logit",
    engine: Engine = "auto",
    precision: Precision = "float32",
    seed: int = 0,
    progress: Progress | None = None,
) -> Attribution:
    """How far the score falls when a part of the image is hidden.

    The plainest question one can ask a network, and the easiest answer to trust: no gradient is needed, and every
    value is a difference of two real scores. What it finds depends on the size of the window (it cannot hide what
    is larger, and what is repeated elsewhere is not missed) and on what is put in its place.

        value(p) = mean over the windows w that cover p of [S(x) - S(x with w replaced by the baseline)]

    Positive: the pixel supports the target. Windows start at 0, stride, 2 * stride, ...; the last one is cut at
    the border, so that every pixel is covered. Pixels that no mask covers have the value 0.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        window: pixels of the network's input, one number or (height, width); by default 32, or a quarter of
            the input's side where that is less. For a network that first cuts the image into patches, as most
            transformers do, the default is the nearest whole number of patches: 28 for patches of 14.
            `convscope.occlusion_multiscale` takes several sizes, or finds one for each image. Of signals
            (length,), by default a 16th of it; of volumes (depth, height, width), by default a quarter of each.
        stride: pixels from one window to the next, at most the window; by default half of it. If the window is a
            whole number of patches, so is the stride, and every window covers whole patches.
        baseline: what replaces hidden pixels: "mean" (0 after normalization), "blur", "noise", "black", "white",
            an image, or a number: 0 (black) to 1 (white) for pictures, in normalized units for a preprocessed
            tensor. A note says where the image's border is of one color and the baseline of another, and where
            the windows that matter most have another sign over another baseline.
        shape: "rectangle"; "ellipse", inscribed in the window; "superpixel" of a picture, each hidden once, about
            as large as the window; or an array of masks (M, H, W) of booleans, True where hidden.
        score: "logit" (before softmax) or "probability".
        engine: "incremental" computes again only what a window changed, for the same scores many times as fast;
            "dense" runs the whole network for each window, as always for signals and volumes; "auto" is
            incremental where that pays, on CPUs.
        precision: "float32", exact, or "bfloat16", faster on processors that support it, with an error that is
            measured.
        seed: of the noise baseline.
        progress: called with (windows done, windows in all).

    Returns:
        `Attribution` with values (N, H, W) in score units, signed. ``provenance.measured`` says which engine ran,
        how many times fewer multiplications it needed and how many times faster it was than whole networks, and
        how far its output was from theirs on a few windows.

    Raises:
        ParameterError: a window larger than the image, a stride larger than the window, masks of another size.
        TargetError: the target is not a class of the network.
        Interrupted: on Ctrl-C, with the finished images.

    Cost: one forward pass for each window and image, or the changed part of it with the incremental engine: 169
    for window/stride 32/16, 729 for 16/8, 2809 for 16/4 on a 224-px image; and 8 over another baseline. Memory
    for one batch of windows, and with the incremental engine for the activations of one image.

    Example:
        >>> total = nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False))
        >>> _ = nn.init.ones_(total[1].weight)
        >>> occlusion(total, torch.ones(1, 1, 4, 4), window=2).values[0, 0]
        array([4., 4., 4., 4.], dtype=float32)

    References:
        Zeiler, Fergus: Visualizing and understanding convolutional networks, 2013, arXiv 1311.2901.
    """
    run = Run(
        "occlusion",
        model,
        images,
        target=target,
        score=score,
        unit=f"fall of the score when hidden ({score})",
        gradients="none",
        progress=progress,
    )
    size = run.inputs.shape[1:]
    masks_of, about = masks_for(shape, size, window, stride, run.structure.patch)
    run.describe(**about)
    occluder = Occluder(run, baseline=baseline, engine=engine, precision=precision, seed=seed)

    def maps_of(image: ScoredImage) -> torch.Tensor:
        masks = masks_of(image.pixels)
        run.steps.each = len(masks)
        drops = occluder.drops(image, occluder.hide(image.x), masks)
        occluder.remark(image, masks, drops)
        return averaged(drops, masks, size)

    return run.by_image(maps_of)
