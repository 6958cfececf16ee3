"""The picture that a class, a layer, a channel or a unit likes best, by gradient ascent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from ..checks import Pair, as_count, as_number, as_pair
from ..errors import Interrupted, ModelError, ParameterError
from ..models import Model, Progress, as_model, check_differentiable, describe, differentiable, gaussian_blur
from ..results import Array, Visualization
from .objectives import Objective, ObjectiveTarget, activation, class_score
from .transforms import clear_small, shift

Start: TypeAlias = Literal["zero", "noise"] | Any

# The picture is smoothed and cleared every few steps, so that the ascent can build on it in between. A wide
# blur at first lets large shapes form; it narrows as the steps go on, and details come in.
TRANSFORM_EVERY = 4
FINAL_BLUR = 0.5
NOISE = 0.1  # standard deviation of the noise start, in normalized units


def visualize(
    model: Model | nn.Module,
    target: ObjectiveTarget,
    *,
    layer: str | None = None,
    steps: int = 256,
    step_size: float = 0.2,
    l2: float = 1e-5,
    blur: float = 3.0,
    clear: float = 0.0,
    jitter_px: int = 32,
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
            evenly to 0.5 at the end. 0 for none.
        clear: share of the pixels, those of the smallest norm, set to zero at every 4th step; 0 for none.
        jitter_px: the picture is moved by up to so many pixels before each step; 0 for none.
        start: "zero", "noise", or an image.
        size_px: side of the picture, or (height, width); by default the size of the network's input.
        n_frames: pictures on the way to keep, evenly spread over the steps, the last of them finished; at
            most steps + 1.
        seed: of jitter and noise.
        progress: called with (steps done, steps in all).

    Returns:
        `Visualization`; ``scores[t]`` is S at step t of the picture as it was shifted then, the last one S of
        the finished picture.

    Raises:
        TargetError: no such class, channel or unit.
        LayerError: no such layer.
        ParameterError: an option outside its range.
        Interrupted: on Ctrl-C, with the picture so far.

    Cost: one forward and one backward pass a step, as far as the layer.

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
    steps, n_frames, jitter_px = (
        as_count(steps, "steps", 1),
        as_count(n_frames, "n_frames"),
        as_count(jitter_px, "jitter_px"),
    )
    step_size, l2, blur, clear = (
        as_number(step_size, "step_size"),
        as_number(l2, "l2"),
        as_number(blur, "blur"),
        as_number(clear, "clear"),
    )
    if clear >= 1:
        raise ParameterError(f"clear={clear}: expected a share of the pixels, less than 1")
    if n_frames > steps + 1:
        raise ParameterError(f"n_frames={n_frames}: there are {steps + 1} pictures from the first to the last")
    generator = torch.Generator().manual_seed(as_count(seed, "seed"))
    parameters = {
        "target": describe(target),
        "layer": layer,
        "steps": steps,
        "step_size": step_size,
        "l2": l2,
        "blur": blur,
        "clear": clear,
        "jitter_px": jitter_px,
        "start": start if isinstance(start, str) and start in ("zero", "noise") else "image",
        "size_px": size_px,
        "n_frames": n_frames or None,
        "seed": seed,
    }
    scores: list[float] = []
    frames: list[Array] = []
    keep = set(np.linspace(steps, 0, n_frames).round().astype(int).tolist())  # the finished picture always
    with differentiable(model.module):
        image = _first(model, start, size_px, generator)
        shape = (image.shape[1], image.shape[2], image.shape[3])
        objective = (
            class_score(model, target, shape)
            if layer is None
            else activation(model, model.structure(shape).find(layer), target)
        )
        limits = _limits(model, image)

        def result(notes: tuple[str, ...] = ()) -> Visualization:
            with torch.no_grad():
                scores.append(float(objective.value(image)))
            if len(set(scores)) == 1:  # as a dead unit, or one whose ReLU is shut at the start
                notes += (
                    f"the score stayed at {scores[0]:.4g}: no pixel changes it from this start; try another",
                )
            return Visualization(
                image=model.to_pixels(image)[0],
                input=image.detach()[0].float().cpu().contiguous().numpy(),
                scores=np.array(scores, np.float32),
                frames=np.stack(frames) if frames else np.zeros((0, *shape[1:], 3), np.uint8),
                target=objective.name,
                provenance=model.provenance("visualize", parameters, started, notes=notes),
            )

        ascent = torch.optim.Adam([image], lr=step_size, maximize=True)
        try:
            for step in range(steps):
                if step in keep:
                    frames.append(model.to_pixels(image)[0])
                scores.append(_ascend(ascent, image, objective, l2, jitter_px, generator))
                with torch.no_grad():
                    if (step + 1) % TRANSFORM_EVERY == 0:
                        _transform(image, _sigma(blur, step / steps), clear)
                    if limits is not None:
                        image.clamp_(*limits)
                if progress:
                    progress(step + 1, steps)
        except KeyboardInterrupt:
            raise Interrupted(result((f"interrupted after {len(scores)} of {steps} steps",))) from None
        if steps in keep:
            frames.append(model.to_pixels(image)[0])
        return result()


def _ascend(
    ascent: torch.optim.Adam,
    image: torch.Tensor,
    objective: Objective,
    l2: float,
    jitter_px: int,
    generator: torch.Generator,
) -> float:
    """One step up S(I) - l2 * ||I||^2; returns S(I) as it was before it."""
    seen = shift(image, jitter_px, generator) if jitter_px else image
    value = objective.value(seen)
    check_differentiable(value, objective.name)
    (image.grad,) = torch.autograd.grad(value - l2 * image.square().sum(), image)
    score = float(value.detach())
    if not np.isfinite(score):
        raise ModelError(f"{objective.name}: the score became {score}; a smaller step_size may help")
    ascent.step()
    return score


def _sigma(blur: float, progress: float) -> float:
    """The blur's sigma, on its way from ``blur`` to the final one."""
    return blur + (min(blur, FINAL_BLUR) - blur) * progress


def _transform(image: torch.Tensor, blur: float, clear: float) -> None:
    if blur:
        image.copy_(gaussian_blur(image, blur))
    if clear:
        image.copy_(clear_small(image, clear))


def _first(model: Model, start: Start, size_px: int | Pair | None, generator: torch.Generator) -> torch.Tensor:
    """The picture to begin with, (1, C, H, W), ready to take gradients."""
    if isinstance(start, str) and start in ("zero", "noise"):
        shape = model.input_shape(None if size_px is None else as_pair(size_px, "size_px"))
        x = torch.zeros(1, *shape)
        if start == "noise":
            x = NOISE * torch.randn(x.shape, generator=generator)
    else:
        if size_px is not None:
            raise ParameterError("size_px: a picture that starts from an image has that image's size")
        if isinstance(start, str) and not Path(start).exists():
            raise ParameterError(f"start={start!r}: expected 'zero', 'noise', an image, or the path of one")
        inputs = model.inputs(start)
        if len(inputs) != 1:
            raise ParameterError(f"start: {len(inputs)} images; expected one")
        x = next(inputs.batches(1)).x
    # In the default layout: channels-last pays for a batch, but a step of one image takes half as long again.
    return x.to(model.device, model.dtype).contiguous().clone().requires_grad_()


def _limits(model: Model, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The normalized values of black and white, beyond which there is no picture; None where unknown."""
    if model.preprocessing is None:
        return None
    black = torch.zeros_like(image[0, :, :1, :1])
    return model.preprocessing.from_unit(black), model.preprocessing.from_unit(black + 1)
