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
    *,
    target: ObjectiveTarget,
    layer: str | None = None,
    n_steps: int = 256,
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
        n_steps: steps of ascent.
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
            most n_steps + 1.
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
        >>> visualize(net, target=1, size_px=8, n_steps=3).scores.shape
        (4,)

    References:
        Erhan, Bengio, Courville, Vincent: Visualizing higher-layer features of a deep network, 2009.
        Simonyan, Vedaldi, Zisserman: Deep inside convolutional networks, 2013, arXiv 1312.6034.
    """
    started = time.perf_counter()
    model = as_model(model)
    generator = torch.Generator().manual_seed(seed)
    with differentiable(model.module):
        image = _first(model, start, size_px, generator)
        shape = (image.shape[1], image.shape[2], image.shape[3])
        structure = model.checked(shape, gradients=True)
        settings = _settings(n_steps, step_size, l2, blur, clear, jitter_px, min(shape[1:]))
        film = _Film(model, image, n_frames, settings.n_steps)
        if layer is None:
            objective = class_score(model, target, shape, structure.memory_format)
        else:
            objective = activation(model, structure.find(layer), target, structure.memory_format)
        is_squashed = layer is None and is_of_classes(target) and structure.ends_in
        on_scores = note_on_scores(model.normalization(shape, 2)) if is_squashed else ()
        parameters = {
            "target": describe(target),
            "layer": layer,
            **asdict(settings),
            "start": start if isinstance(start, str) and start in ("zero", "noise") else "image",
            "size_px": size_px,
            "n_frames": n_frames or None,
            "seed": seed,
        }
        ascent = Ascent(model, image, objective, settings, generator)
        stopped = _climbed(ascent, film, progress)
        result = _result(model, ascent, film, parameters, started, (*stopped, *on_scores))
    if stopped:
        raise Interrupted(result)
    return result


class _Film:
    """Pictures on the way, evenly spread over the steps, the finished one always among them."""

    def __init__(self, model: Model, image: torch.Tensor, n_frames: int, n_steps: int) -> None:
        if n_frames > n_steps + 1:
            raise ParameterError(
                f"n_frames={n_frames}: there are {n_steps + 1} pictures from the first to the last"
            )
        self._model, self._image = model, image
        self._wanted = set(np.linspace(n_steps, 0, n_frames).round().astype(int).tolist())
        self._frames: list[Array] = []

    def take(self, step: int) -> None:
        """The picture after so many steps, if it is wanted."""
        if step in self._wanted:
            self._frames.append(self._model.to_pixels(self._image)[0])

    def frames(self) -> Array:
        """(F, H, W, 3)."""
        height, width = self._image.shape[2:]
        return np.stack(self._frames) if self._frames else np.zeros((0, height, width, 3), np.uint8)


def _climbed(ascent: Ascent, film: _Film, progress: Progress | None) -> tuple[str, ...]:
    """Go all the way up; on Ctrl-C stop there, with a note that says where."""
    n_steps = ascent.settings.n_steps
    try:
        for step in range(n_steps):
            film.take(step)
            ascent.step()
            if progress:
                progress(step + 1, n_steps)
        film.take(n_steps)
    except KeyboardInterrupt:
        return (f"interrupted after {len(ascent.scores)} of {n_steps} steps",)
    return ()


def _result(
    model: Model,
    ascent: Ascent,
    film: _Film,
    parameters: dict[str, Any],
    started: float,
    notes: tuple[str, ...],
) -> Visualization:
    """The picture as it is now, and what its reader should know."""
    image, objective = ascent.image, ascent.objective
    scores = [*ascent.scores, ascent.score()]
    rival = objective.rival(image) if objective.rival else None
    return Visualization(
        image=model.to_pixels(image)[0],
        input=image.detach()[0].float().cpu().contiguous().numpy(),
        scores=np.array(scores, np.float32),
        frames=film.frames(),
        target=objective.name,
        provenance=model.provenance(
            "visualize",
            parameters,
            started,
            notes=(*notes, *ascent.strayed(scores[-1]), *remarks(ascent.start, scores, rival, ascent.settings)),
        ),
    )


def _settings(
    n_steps: int,
    step_size: float,
    l2: float,
    blur: float | None,
    clear: float,
    jitter_px: int | None,
    side: int,
) -> Settings:
    """The options; what is not given goes by the picture's shorter side."""
    return Settings(
        n_steps=n_steps,
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
    dtype = torch.promote_types(model.dtype, torch.float32)
    return x.to(model.device, dtype).contiguous().clone().requires_grad_()
