"""The picture to which a class, a layer, a channel or a unit responds most, by gradient ascent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from ..arguments import checks_arguments
from ..checks import Pair, PresetName, shown
from ..errors import Interrupted, TargetError
from ..models import Model, as_model, load_model
from ..progress import Progress
from ..results import Visualization
from ..targets import Several, Target, describe
from .evidence import agreement
from .film import Watching
from .making import made
from .objectives import Objective
from .presets import Recipe
from .setting import Asked

Start: TypeAlias = Literal["zero", "noise"] | Any
# A class, a callable or an objective without a layer; with one: None, a channel, or (channel, row, column).
VisualizeTarget: TypeAlias = Target | Objective | tuple[int, int, int]

N_SEEDS = 4


@checks_arguments
def visualize(
    model: Model | nn.Module,
    target: VisualizeTarget = None,
    *,
    layer: str | None = None,
    preset: PresetName | Recipe = "natural",
    size_px: int | Pair | None = None,
    n_steps: int | None = None,
    l2: float | None = None,
    start: Start = None,
    n_frames: int = 0,
    photos: Any = None,
    judge: Any = None,
    check_seeds: bool = False,
    seed: int = 0,
    watch: Watching | None = None,
    progress: Progress | None = None,
) -> Visualization:
    """Find the input to which the network responds most.

    This is not a typical picture of the class but the one with the highest score that the ascent finds: it repeats
    the parts and textures that the network has learned to look for. Other presets and seeds give other pictures
    with similar scores.

        I* = argmax over I of S(I) - l2 * ||I||_2^2

    I is the preprocessed input, so the zero image is the mean image. S is a class score before softmax, or an
    activation. With preset="plain" only this is maximized, from the zero image (by Adam, with pixels clamped to
    valid colors); the score is high, but the picture is mostly noise. The other presets search among pictures
    that are like photos in some way, and ask for a high score in random views of them.

    Args:
        model: a `Model` or a module.
        target: a class index or label, a callable from the output (N, K) to scores (N,), or an `Objective`. With
            ``layer``, a channel, (channel, row, column) for one unit, or None for the whole layer.
        layer: name of the layer whose activation is maximized; the forward pass stops there.
        preset: "natural" has the colors, the contrast and the mixture of coarse and fine of photos; "maco" has the
            amplitude of each frequency fixed to that of photos; "crisp" has more contrast, and fewer, whole
            things; "plain" is the formula alone. Or a `Recipe` of one's own.
        size_px: side of the picture, or (height, width). By default the size to which the network's preprocessing
            resizes; for whole channels of early layers twice their receptive field, and at least 64; with "plain"
            that of the network's input.
        n_steps: number of ascent steps, by default the preset's.
        l2: lambda, the weight of the penalty, by default the preset's: 1e-5 for "plain", 0 for the others.
        start: "zero", "noise", or an image; by default zero for "plain", and faint noise for the others.
        n_frames: number of pictures to keep on the way, evenly spread over the steps and ending with the finished
            one; all there are, n_steps + 1, if that is fewer. If mean and std are not known, all have one scale.
        photos: images (see `convscope.load_images`) whose mean color, mixture of colors and, with "maco",
            amplitude of each frequency the picture takes on; by default those of the sample photos. A few dozen
            are enough.
        judge: another network, or its name, that is asked what it takes the picture for.
        check_seeds: make the picture with three more seeds as well, and report how far the four agree.
        seed: seed of all that is random.
        watch: called before each step and at the end with (steps done, picture (H, W, 3) uint8, score).
        progress: called with (steps done, steps in total).

    Returns:
        `Visualization`: the best picture, as the network sees it whole. Its ``evidence`` says what the network
        takes the picture for once it is rounded to 8 bits. ``provenance.notes`` warn if the score did not rise,
        or if the network takes the picture for another class than the target.

    Raises:
        TargetError: no such class, channel or unit.
        LayerError: no such layer.
        ParameterError: an option outside its range.
        ModelError: a score or a gradient is NaN or infinite, for example because float16 overflows in the network.
        Interrupted: on Ctrl-C, with the best picture so far.

    Cost: one forward and one backward pass per step and view, up to the layer: 128 steps of 2 views for
    "natural". A network in half precision runs in half precision; the picture, its gradient and its scores are
    float32.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
        >>> visualize(net, 1, size_px=8, n_steps=3).scores.shape
        (4,)

    References:
        Erhan, Bengio, Courville, Vincent: Visualizing higher-layer features of a deep network, 2009.
        Simonyan, Vedaldi, Zisserman: Deep inside convolutional networks, 2013, arXiv 1312.6034.
        Olah, Mordvintsev, Schubert: Feature visualization, Distill 2017.
        Fel et al.: MACO, 2023, arXiv 2306.06805.
    """
    model = as_model(model)
    if judge is not None:
        judge = load_model(judge) if isinstance(judge, str) else as_model(judge)
    if target is None and layer is None:
        what = "'up' or 'down', a value" if model.regression else "a class"
        raise TargetError(f"nothing to maximize: give {what} (index or label), a callable, or a layer")
    if layer is None and (
        isinstance(target, Several) or (isinstance(target, Sequence) and not isinstance(target, str))
    ):
        raise TargetError(f"target={describe(target)!r}: one picture has one target; see visualize_each")
    asked = Asked(
        preset=preset, seed=seed, layer=layer, size_px=size_px, n_steps=n_steps, l2=l2, start=start,
        n_frames=n_frames, judge=judge, photos=photos,
    )  # fmt: skip
    (found,) = made(model, [target], asked, watch, progress)
    if not check_seeds:
        return found
    try:
        seeds = [replace(asked, seed=seed + i, n_frames=0, judge=None) for i in range(1, N_SEEDS)]
        others = [made(model, [target], one, None, None)[0] for one in seeds]
    except Interrupted as error:  # of the picture of another seed
        raise Interrupted(found) from error
    inputs = [torch.from_numpy(one.input)[None] for one in (found, *others)]
    return replace(found, agreement=agreement(model, inputs, layer))


@checks_arguments
def visualize_each(
    model: Model | nn.Module,
    targets: Sequence[VisualizeTarget],
    *,
    layer: str | None = None,
    preset: PresetName | Recipe = "natural",
    size_px: int | Pair | None = None,
    n_steps: int | None = None,
    photos: Any = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Visualization]:
    """A picture for each target, all in one batch: see `visualize`.

    The i-th picture is that of ``visualize`` with the seed ``seed`` + i.

    Cost: that of as many calls, less what each call costs beside its arithmetic: little for deep layers, most of
    it for early ones, whose pictures are small.
    """
    asked = Asked(preset=preset, seed=seed, layer=layer, size_px=size_px, n_steps=n_steps, photos=photos)
    if isinstance(targets, str) or not isinstance(targets, Sequence) or not targets:
        raise TargetError(f"targets={shown(targets)}: expected a list of targets, one a picture")
    return made(as_model(model), targets, asked, None, progress)
