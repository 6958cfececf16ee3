"""Which pixels matter, by hiding them and watching the score."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from ..checks import Pair, as_count
from ..errors import ParameterError
from ..models import Model, Progress, Score, Target, as_model, describe, evaluating, resolve
from ..registry import register
from ..results import Array, Attribution
from .baselines import Baseline, baseline_of, describe_baseline
from .engines import Engine, Precision
from .maps import Maps
from .masks import Masks, Shape, check_windows, given, superpixels, windows
from .scores import Scorer, finite


@register
def occlusion(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    window: int | Pair | None = None,
    stride: int | Pair | None = None,
    baseline: Baseline = "mean",
    shape: Shape | Array = "rectangle",
    score: Score = "logit",
    engine: Engine = "auto",
    precision: Precision = "float32",
    seed: int = 0,
    progress: Progress | None = None,
) -> Attribution:
    """How far the score falls when a part of the image is hidden.

    The plainest question that one can ask a network, and the easiest to trust: it needs no gradient, and every
    value is a difference of two real scores. What it finds depends on the size of the window (parts that are
    larger hide behind it, and what is repeated elsewhere is not missed) and on what is put in its place.

        value(p) = mean over the windows w that cover p of [S(x) - S(x with w replaced by the baseline)]

    Positive: the pixel supports the target. Windows start at 0, stride, 2 * stride, ...; the last one is cut
    at the border, so that every pixel is covered. Pixels that no mask covers have the value 0.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list of one for each image, a callable from the output (N, K) to
            scores (N,), or nothing for the predicted class.
        window: pixels of the network's input, one number or (height, width); by default 32, or a quarter of
            the input's side where that is less.
        stride: pixels from one window to the next, at most the window; by default half of it.
        baseline: what replaces hidden pixels: "mean" (0 after normalization), "blur", "noise", an image, or
            a number: 0 (black) to 1 (white) for pictures, in normalized units for a preprocessed tensor.
        shape: "rectangle"; "ellipse", inscribed in the window; "superpixel", each hidden once, about as
            large as the window; or an array of masks (M, H, W) of booleans, True where hidden.
        score: "logit" (before softmax) or "probability".
        engine: "incremental" computes again only what a window changed, which gives the same scores many times
            as fast; "dense" runs the whole network for each window; "auto" takes the first where it pays.
        precision: "float32", exact, or "bfloat16", faster where the processor knows it; how far it is off is
            measured.
        seed: of the noise baseline.
        progress: called with (windows done, windows in all).

    Returns:
        `Attribution` with values (N, H, W) in score units, signed. ``provenance.measured`` says which engine ran,
        how many times fewer multiplications it needs and how many times faster it was than whole networks, and
        how far its output was from theirs on a few windows.

    Raises:
        ParameterError: a window larger than the image, a stride larger than the window, masks of another size.
        TargetError: the target is not a class of the network.
        Interrupted: on Ctrl-C, with the images that were finished.

    Cost: one forward pass for each window and image, or what is left of it where only changes are computed: 169
    for 32/16, 729 for 16/8, 2809 for 16/4 on a 224-px image. Memory for one batch of windows, and with the
    incremental engine for the activations of one image.

    Example:
        >>> total = nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False))
        >>> _ = nn.init.ones_(total[1].weight)
        >>> occlusion(total, torch.ones(1, 1, 4, 4), window=2).values[0, 0]
        array([4., 4., 4., 4.], dtype=float32)

    References:
        Zeiler, Fergus: Visualizing and understanding convolutional networks, 2013, arXiv 1311.2901.
    """
    model = as_model(model)
    inputs = model.inputs(images)
    masks_of, about = _shapes(shape, inputs.shape[1:], window, stride)
    hide = baseline_of(model, baseline, preprocessed=inputs.preprocessed, seed=as_count(seed, "seed"))
    parameters = {
        "target": describe(target),
        **about,
        "baseline": describe_baseline(baseline),
        "score": score,
        "engine": engine,
        "precision": precision,
        "seed": seed if isinstance(baseline, str) and baseline == "noise" else None,
    }
    maps = Maps("occlusion", parameters, model, inputs, unit=f"fall of the score when hidden ({score})")
    scorer = Scorer(model, engine, precision)
    maps.measured, maps.notes = scorer.measured, scorer.notes
    windows_done = 0
    with maps.kept_on_interrupt():
        for batch in model.batches(inputs):
            with evaluating(model.module), torch.inference_mode():
                output = model.module(batch.x.clone())  # a copy, as its first operation may be in place
                chosen = resolve(
                    target,
                    output,
                    model.labels,
                    n_batch=len(batch.x),
                    positions=batch.positions,
                    n_images=len(inputs),
                    score=score,
                )
                whole = finite(chosen.of(output, len(batch.x)), batch.names)
                pixels = model.to_pixels(batch.x)
                for i, image in enumerate(batch.x):
                    masks = masks_of(pixels[i])
                    left = len(inputs) - batch.positions[i]
                    step = _shifted(progress, windows_done, windows_done + left * len(masks))
                    score_of = partial(chosen.of, image=i)
                    drops = scorer.drops(image, hide(image), masks, score_of, progress=step)
                    drops = finite(drops, batch.names[i : i + 1] * len(masks))
                    values = average_over_masks(drops, masks, inputs.shape[1:])
                    here = slice(i, i + 1)
                    maps.add(values[None], whole[here], pixels[here], batch.names[here], chosen.names[here])
                    windows_done += len(masks)
    if progress and inputs.skipped:
        progress(windows_done, windows_done)  # the last images may be among those
    return maps.result()


def _shapes(
    shape: Shape | Array, size: Pair, window: int | Pair | None, stride: int | Pair | None
) -> tuple[Callable[[Array], Masks], dict[str, Any]]:
    """How to make an image's masks from its pixels, and what to say of them in the provenance."""
    if isinstance(shape, np.ndarray | torch.Tensor):
        fixed = given(shape.detach().cpu().numpy() if isinstance(shape, torch.Tensor) else shape, size)
        return lambda pixels: fixed, {"shape": f"{len(fixed)} masks"}
    window, stride = check_windows(size, window, stride)
    if shape == "superpixel":
        return lambda pixels: superpixels(pixels, window), {"shape": shape, "window": window}
    if shape in ("rectangle", "ellipse"):
        grid = windows(size, window, stride, shape=shape)
        return lambda pixels: grid, {"shape": shape, "window": window, "stride": stride}
    raise ParameterError(f"shape={shape!r}: expected 'rectangle', 'ellipse', 'superpixel' or an array of masks")


def average_over_masks(drops: torch.Tensor, masks: Masks, size: Pair) -> torch.Tensor:
    """The mean drop (H, W) of the masks that cover each pixel; 0 where none does.

    Args:
        drops: (M,), S(x) - S(x with mask m filled).
        masks: the M masks.
        size: (H, W).
    """
    total, cover = torch.zeros((2, *size), dtype=torch.float64)
    for numbers, hidden in masks:
        for number, mask in zip(numbers, hidden, strict=True):
            top, left, bottom, right = masks.rectangles[number]
            here = (slice(top, bottom), slice(left, right))
            total[here] += drops[number] * mask[here]
            cover[here] += mask[here]
    return torch.where(cover > 0, total / cover, 0.0)


def _shifted(progress: Progress | None, before: int, total: int) -> Callable[[int], None] | None:
    """Progress over one image as progress over all."""
    return None if progress is None else lambda done: progress(before + done, total)
