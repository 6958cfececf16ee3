"""The picture that a class, a layer, a channel or a unit likes best, by gradient ascent."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from ..arguments import checks_arguments
from ..checks import Pair, as_pair, unfit
from ..errors import Interrupted, ParameterError
from ..execution import differentiable
from ..models import Model, as_model
from ..progress import Progress
from ..results import Array, Visualization
from ..targets import describe, is_of_classes, note_on_scores
from .ascent import BLUR, JITTER, LARGEST_BLUR, Ascent, Settings
from .objectives import ObjectiveTarget, activation, class_score
from .remarks import remarks

Start: TypeAlias = Literal["zero", "noise"] | Any

NOISE = 0.1  # standard deviation of the noise start, in normalized units


@checks_arguments
def visualize(
    model: Model | nn.Module,
    target: ObjectiveTarget,
    *,
    layer: str | None = None,
    steps: int = 256,
    step_size: float = 0.2,
    l2: float = 1e-5,
    blur: float | None = None,
    clear: float = 0.0,
    jitter_px: int | None = None,
    start: Start = "zero",
    size_px: int | Pair | None = None,
    n_frames: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Visualization:
    """What input would the network like best?

    Not a typical picture of the class, but the one with the highest score that ascent finds: it shows which
    parts and textures the network has learned to look for, many times over. Different settings give different
    pictures of the same score.

        I* = argmax over I of S(I) - l2 * ||I||_2^2

    I is the input as the network takes it, so the zero image is its mean image. S is a class score before
    softmax, or an activation. With blur=0, clear=0 and jitter_px=0 this is all that is done (by Adam, with
    pixels kept to what a picture can hold); the defaults add a blur that narrows and a jitter, without which
    the picture is mostly high-frequency noise, at a higher score.

    Args:
        model: a `Model` or a module.
        target: a class index or label, or a callable from the output (1, K) to a score (1,). With ``layer``:
            a channel, (channel, row, column) for one unit, or None for the whole layer.
        layer: name of the layer whose activation is maximized; the forward pass stops there.
        steps: steps of ascent.
        step_size: Adam's learning rate, in units of the normalized input.
        l2: lambda, the weight of the penalty.
        blur: sigma in pixels of a Gaussian put over the picture at every 4th step, at the beginning; it falls
            evenly to 0.5 at the end. By default 3, but no more than a 10th of the picture's shorter side. 0 for
            none.
        clear: share of the pixels, those of the smallest norm, set to zero at every 4th step; 0 for none.
        jitter_px: the picture is moved by up to so many pixels before each step. By default a 7th of the
            picture's shorter side: 32 at 224 pixels, 5 at 32. 0 for none.
        start: "zero", "noise", or an image.
        size_px: side of the picture, or (height, width); by default the size of the network's input.
        n_frames: pictures on the way to keep, evenly spread over the steps, the last of them finished; at
            most steps + 1.
        seed: of jitter and noise.
        progress: called with (steps done, steps in all).

    Returns:
        `Visualization`; ``scores[t]`` is S at step t of the picture as it was shifted then, the last one S of
        the finished picture. ``provenance.notes`` say so where that is lower than at the start, and where the
        network takes the picture of a class for another class.

    Raises:
        TargetError: no such class, channel or unit.
        LayerError: no such layer.
        ParameterError: an option outside its range.
        ModelError: a score or a gradient that is no number, as where float16 overflows in the network.
        Interrupted: on Ctrl-C, with the picture so far.

    Cost: one forward and one backward pass a step, as far as the layer. A network in half precision is run in it;
    the picture, its gradient and its scores are of float32.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
        >>> visualize(net, 1, size_px=8, steps=3).scores.shape
        (4,)

    References:
        Erhan, Bengio, Courville, Vincent: Visualizing higher-layer features of a deep network, 2009.
        Simonyan, Vedaldi, Zisserman: Deep inside convolutional networks, 2013, arXiv 1312.6034.
    """
    started = time.perf_counter()
    model = as_model(model)
    generator = torch.Generator().manual_seed(seed)
    scores: list[float] = []
    frames: list[Array] = []
    with differentiable(model.module):
        image = _first(model, start, size_px, generator)
        shape = (image.shape[1], image.shape[2], image.shape[3])
        structure = model.checked(shape, gradients=True)
        settings = _settings(steps, step_size, l2, blur, clear, jitter_px, min(shape[1:]))
        if n_frames > settings.steps + 1:
            raise ParameterError(
                f"n_frames={n_frames}: there are {settings.steps + 1} pictures from the first to the last"
            )
        objective = (
            class_score(model, target, shape)
            if layer is None
            else activation(model, structure.find(layer), target)
        )
        parameters = {
            "target": describe(target),
            "layer": layer,
            **asdict(settings),
            "start": start if isinstance(start, str) and start in ("zero", "noise") else "image",
            "size_px": size_px,
            "n_frames": n_frames or None,
            "seed": seed,
        }
        is_squashed = layer is None and is_of_classes(target) and structure.ends_in
        on_scores = note_on_scores(model.normalization(shape, 2)) if is_squashed else ()
        ascent = Ascent(model, image, objective, settings, generator)
        first = ascent.score()

        def result(*notes: str) -> Visualization:
            scores.append(ascent.score())
            rival = objective.rival(image) if objective.rival else None
            return Visualization(
                image=model.to_pixels(image)[0],
                input=image.detach()[0].float().cpu().contiguous().numpy(),
                scores=np.array(scores, np.float32),
                frames=np.stack(frames) if frames else np.zeros((0, *shape[1:], 3), np.uint8),
                target=objective.name,
                provenance=model.provenance(
                    "visualize",
                    parameters,
                    started,
                    notes=(*notes, *on_scores, *remarks(first, scores, rival, settings)),
                ),
            )

        # The finished picture always.
        keep = set(np.linspace(settings.steps, 0, n_frames).round().astype(int).tolist())
        try:
            for step in range(settings.steps):
                if step in keep:
                    frames.append(model.to_pixels(image)[0])
                scores.append(ascent.step(step))
                if progress:
                    progress(step + 1, settings.steps)
        except KeyboardInterrupt:
            note = f"interrupted after {len(scores)} of {settings.steps} steps"
            raise Interrupted(result(note)) from None
        if settings.steps in keep:
            frames.append(model.to_pixels(image)[0])
        return result()


def _settings(
    steps: int, step_size: float, l2: float, blur: float | None, clear: float, jitter_px: int | None, side: int
) -> Settings:
    """The options; what is not given goes by the picture's shorter side."""
    return Settings(
        steps=steps,
        step_size=step_size,
        l2=l2,
        blur=round(min(BLUR, LARGEST_BLUR * side), 2) if blur is None else blur,
        clear=clear,
        jitter_px=round(JITTER * side) if jitter_px is None else jitter_px,
    )


def _first(model: Model, start: Start, size_px: int | Pair | None, generator: torch.Generator) -> torch.Tensor:
    """The picture to begin with, (1, C, H, W), ready to take gradients."""
    if isinstance(start, str) and start in ("zero", "noise"):
        shape = model.input_shape(None if size_px is None else as_pair(size_px, "size_px"))
        x = torch.zeros(1, *shape, dtype=torch.float32, device="cpu")
        if start == "noise":
            x = NOISE * torch.randn(x.shape, generator=generator, dtype=torch.float32, device="cpu")
    else:
        if size_px is not None:
            raise ParameterError("size_px: a picture that starts from an image has that image's size")
        if isinstance(start, str) and not os.path.exists(start):
            raise unfit(start, "start", "'zero', 'noise', an image, or the path of one")
        inputs = model.inputs(start)
        if len(inputs) != 1:
            raise ParameterError(f"start: {len(inputs)} images; expected one")
        x = next(inputs.batches(1)).x
    # In the default layout: channels-last pays for a batch, but a step of one image takes half as long again.
    dtype = torch.promote_types(model.dtype, torch.float32)
    return x.to(model.device, dtype).contiguous().clone().requires_grad_()
