"""Which pixels matter, by hiding them and watching the score."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn

from ..checks import Pair, as_choice, as_pair, unfit
from ..models import Model, as_model
from ..perturbation import (
    Baseline,
    Engine,
    Masks,
    Precision,
    Scorer,
    Shape,
    SignNote,
    Variants,
    baseline_of,
    check_windows,
    curves,
    describe_baseline,
    finite,
    given,
    hiding,
    n_variants,
    other_baseline,
    ranks,
    strongest,
    superpixels,
    tried_windows,
    windows,
)
from ..progress import Progress
from ..registry import register
from ..results import Array, Attribution
from ..targets import Score, Target
from .calls import Call
from .explained import Explained

_STEPS = 12  # of the curves that window="auto" decides by


@register
def occlusion(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    window: int | Pair | list[int | Pair] | Literal["auto"] | None = None,
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
            the input's side where that is less. A list of sizes gives the mean of their maps, each divided by the
            share of the image that its window hides; ``layers`` of the result keeps them apart. "auto" tries five
            sizes, 16 to 64 of 224 px, and takes for each image the one whose map has the largest insertion minus
            deletion area, in scores over this baseline (see `convscope.mask_study`, which looks at more than
            that).
        stride: pixels from one window to the next, at most the window; by default half of it.
        baseline: what replaces hidden pixels: "mean" (0 after normalization), "blur", "noise", "black", "white",
            an image, or a number: 0 (black) to 1 (white) for pictures, in normalized units for a preprocessed
            tensor. A note says where the image's border is of one color and the baseline of another, and where
            the windows that matter most have another sign over another baseline.
        shape: "rectangle"; "ellipse", inscribed in the window; "superpixel", each hidden once, about as
            large as the window; or an array of masks (M, H, W) of booleans, True where hidden.
        score: "logit" (before softmax) or "probability".
        engine: "incremental" computes again only what a window changed, which gives the same scores many times
            as fast; "dense" runs the whole network for each window; "auto" takes the first where it pays, on CPUs.
        precision: "float32", exact, or "bfloat16", faster where the processor knows it; how far it is off is
            measured.
        seed: of the noise baseline.
        progress: called with (windows done, windows in all).

    Returns:
        `Attribution` with values (N, H, W) in score units, signed. ``provenance.measured`` says which engine ran,
        how many times fewer multiplications it needs and how many times faster it was than whole networks, and
        how far its output was from theirs on a few windows; and with "auto", the ``windows`` that were taken.

    Raises:
        ParameterError: a window larger than the image, a stride larger than the window, masks of another size.
        TargetError: the target is not a class of the network.
        Interrupted: on Ctrl-C, with the images that were finished.

    Cost: one forward pass for each window and image, or what is left of it where only changes are computed: 169
    for 32/16, 729 for 16/8, 2809 for 16/4 on a 224-px image; and 8 with another baseline. Memory for one batch of
    windows, and with the incremental engine for the activations of one image.

    Example:
        >>> total = nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False))
        >>> _ = nn.init.ones_(total[1].weight)
        >>> occlusion(total, torch.ones(1, 1, 4, 4), window=2).values[0, 0]
        array([4., 4., 4., 4.], dtype=float32)

    References:
        Zeiler, Fergus: Visualizing and understanding convolutional networks, 2013, arXiv 1311.2901.
    """
    model = as_model(model)
    call = Call(
        "occlusion",
        model,
        images,
        target=target,
        score=score,
        parameters={},
        unit=f"fall of the score when hidden ({score})",
        gradients=False,
        progress=progress,
    )
    size = call.inputs.shape[1:]
    is_auto = isinstance(window, str) and window == "auto"
    several = (
        list(dict.fromkeys(as_pair(one, "window") for one in window)) if isinstance(window, list) else [window]
    )
    sizes: list[Any] = tried_windows(size) if is_auto else several
    grids = [_shapes(shape, size, one, stride) for one in sizes]
    if not grids or ((is_auto or len(grids) > 1) and not isinstance(shape, str)):
        raise unfit(window, "window", "one size or several, which masks of your own have not")
    scorer = Scorer(call.model, engine, precision)
    call.maps.measured, scorer.notes = scorer.measured, call.notes
    hide = hiding(call.model, baseline, preprocessed=call.inputs.preprocessed, seed=seed, notes=call.notes)
    check_signs = _sign_check(call, baseline, seed)
    call.describe(
        **({"shape": shape, "window": "auto"} if is_auto else _together([about for _, about in grids])),
        baseline=describe_baseline(baseline),
        engine=engine,
        precision=precision,
        seed=seed if isinstance(baseline, str) and baseline == "noise" else None,
    )

    def values_of(images: Explained, i: int) -> torch.Tensor:
        every = [masks_of(images.pixels[i]) for masks_of, _ in grids]
        call.steps = sum(map(len, every))
        if is_auto:
            call.steps += n_variants(len(every) * images.targets.n_each, 1, _STEPS)
        score_of, behind = partial(images.targets.of, image=i), hide(images.x[i])
        found, falls = [], []
        for masks in every:
            drops = scorer.drops(images.x[i], behind, masks, score_of, progress=call.advance)
            finite(drops.flatten(), images.batch.names * drops.numel())
            found.append(torch.stack([average_over_masks(of_one, masks, size) for of_one in drops.T]))
            falls.append(drops)
        best = 0
        if is_auto:
            best = _most_faithful(images, i, behind, found)
            scorer.measured.setdefault("windows", []).append(sizes[best])
        check_signs(images, i, every[best], falls[best])
        call.note_on_rounding(images, falls[best])
        if is_auto or len(found) == 1:
            return found[best]
        shares = [np.prod(about["window"]) / np.prod(size) for _, about in grids]
        for (_, about), values in zip(grids, found, strict=True):
            call.maps.layers.setdefault("window {} x {}".format(*about["window"]), []).extend(
                values.float().numpy()
            )
        return torch.stack([values / share for values, share in zip(found, shares, strict=True)]).mean(dim=0)

    return call.by_image(values_of)


def _sign_check(
    call: Call, baseline: Baseline, seed: int
) -> Callable[[Explained, int, Masks, torch.Tensor], None]:
    """A function that hides an image's strongest masks once more, over another baseline, and notes what changes.

    It is given the image, its masks and their drops (M, T). Of several windows it looks at the first.
    """
    other = other_baseline(baseline)
    if other is None:
        return lambda *_: None
    hide = baseline_of(call.model, other, preprocessed=call.inputs.preprocessed, seed=seed)
    note = SignNote(call.notes, other)

    def check(images: Explained, i: int, masks: Masks, drops: torch.Tensor) -> None:
        variants = Variants.of(images.x[i], hide(images.x[i]), masks)
        numbers = strongest(drops.abs().mean(dim=1))  # for all targets the same, in one run
        with images.fusing:
            others = (images.scores[i] - images.scores_of(variants(numbers), i)).cpu().double()
        for of_one, other in zip(drops[numbers].T, others.T, strict=True):
            note.add(of_one, other)

    return check


def _most_faithful(images: Explained, i: int, behind: torch.Tensor, found: list[torch.Tensor]) -> int:
    """Which of several maps (T, H, W) of an image has the largest insertion minus deletion area, all targets."""
    orders = [ranks(values.numpy()) for maps in found for values in maps]
    score = partial(images.score_variants, image=i)
    below, above = curves(images.x[i], [behind], orders, _STEPS, score).areas()
    advantages = (above - below)[:, 0].reshape(len(found), -1, len(found[0]))
    # Of each target the curves of its own map: the diagonal.
    totals = np.trace(advantages, axis1=1, axis2=2)
    return int(np.nan_to_num(totals, nan=-np.inf).argmax())  # a score of a part may be none


def _together(options: list[dict[str, Any]]) -> dict[str, Any]:
    """What several grids have in common once, what they differ in as a list."""
    return {
        name: value if all(other[name] == value for other in options) else [other[name] for other in options]
        for name, value in options[0].items()
    }


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
    if isinstance(shape, str):
        as_choice(shape, "shape", get_args(Shape))
    raise unfit(shape, "shape", "'rectangle', 'ellipse', 'superpixel' or an array of masks")


def average_over_masks(drops: torch.Tensor, masks: Masks, size: Pair) -> torch.Tensor:
    """The mean drop (H, W) of the masks that cover each pixel; 0 where none does.

    Args:
        drops: (M,), S(x) - S(x with mask m filled).
        masks: the M masks.
        size: (H, W).
    """
    total, cover = torch.zeros((2, *size), dtype=torch.float64, device="cpu")
    for numbers, hidden in masks:
        for number, mask in zip(numbers, hidden, strict=True):
            top, left, bottom, right = masks.rectangles[number]
            here = (slice(top, bottom), slice(left, right))
            total[here] += drops[number] * mask[here]
            cover[here] += mask[here]
    return torch.where(cover > 0, total / cover, 0.0)
