"""The picture to which a class, a layer, a channel or a unit responds most, by gradient ascent."""

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
from ..errors import Interrupted, NotPicturesError, ParameterError
from ..execution import differentiable
from ..models import CONVOLUTIONS, Model, as_model
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
    """Find the input to which the network responds most.

    This is not a typical picture of the class but the one with the highest score that the ascent finds: it repeats
    the parts and textures that the network has learned to look for. Different settings give different pictures
    with similar scores.

        I* = argmax over I of S(I) - l2 * ||I||_2^2

    I is the preprocessed input, so the zero image is the mean image. S is a class score before softmax, or an
    activation. With blur=0, clear=0 and jitter_px=0 only this is maximized (by Adam, with pixels clamped to valid
    colors). The defaults add a narrowing blur and a jitter; without them the score is higher, but the picture is
    mostly high-frequency noise.

    Args:
        model: a `Model` or a module.
        target: a class index or label, or a callable from the output (1, K) to a score (1,). With ``layer``, a
            channel, (channel, row, column) for one unit, or None for the whole layer.
        layer: name of the layer whose activation is maximized; the forward pass stops there.
        n_steps: number of ascent steps.
        step_size: Adam's learning rate, in units of the normalized input.
        l2: lambda, the weight of the penalty.
        blur: initial sigma in pixels of the Gaussian blur at every 4th step; it falls linearly to 0.5 at the end.
            By default 3, but at most a 10th of the picture's shorter side. 0 for none.
        clear: share of the pixels, those with the smallest norm, to set to zero at every 4th step; 0 for none.
        jitter_px: the largest shift of the picture in a step, in pixels. By default a 7th of the picture's
            shorter side: 32 at 224 pixels, 5 at 32. 0 for none.
        start: "zero", "noise", or an image.
        size_px: side of the picture, or (height, width); by default the size of the network's input.
        n_frames: number of intermediate pictures to keep, evenly spread over the steps and ending with the
            finished one; at most n_steps + 1.
        seed: seed of jitter and noise.
        progress: called with (steps done, steps in total).

    Returns:
        `Visualization`; ``scores[t]`` is S of the shifted picture at step t, and the last one is S of the
        finished picture. ``provenance.notes`` warn if that is lower than at the start, or if the network takes
        the picture for another class than the target.

    Raises:
        TargetError: no such class, channel or unit.
        LayerError: no such layer.
        ParameterError: an option outside its range.
        ModelError: a score or a gradient is NaN or infinite, for example because float16 overflows in the network.
        Interrupted: on Ctrl-C, with the picture so far.

    Cost: one forward and one backward pass per step, up to the layer. A network in half precision runs in half
    precision; the picture, its gradient and its scores are float32.

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
    _check_makes_pictures(model)
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
        stopped = _climb(ascent, film, progress)
        result = _result(model, ascent, film, parameters, started, (*stopped, *on_scores))
    if stopped:
        raise Interrupted(result)
    return result


def _check_makes_pictures(model: Model) -> None:
    """`NotPicturesError` for a network whose convolutions are all for signals or volumes."""
    kinds = {type(m).__name__ for m in model.module.modules() if isinstance(m, CONVOLUTIONS)}
    if kinds and not any("2d" in kind for kind in kinds):
        raise NotPicturesError(
            f"visualize makes pictures (C, H, W), and this network has {', '.join(sorted(kinds))} alone: "
            "feature_maps and the attribution methods take signals and volumes"
        )


class _Film:
    """Intermediate pictures, evenly spread over the steps and ending with the finished one."""

    def __init__(self, model: Model, image: torch.Tensor, n_frames: int, n_steps: int) -> None:
        if n_frames > n_steps + 1:
            raise ParameterError(f"n_frames={n_frames}: {n_steps} steps give only {n_steps + 1} pictures")
        self._model, self._image = model, image
        self._wanted = set(np.linspace(n_steps, 0, n_frames).round().astype(int).tolist())
        self._frames: list[Array] = []

    def take(self, step: int) -> None:
        """Keep the picture after this many steps, if it is one of the frames."""
        if step in self._wanted:
            self._frames.append(self._model.to_pixels(self._image)[0])

    def frames(self) -> Array:
        """(F, H, W, 3)."""
        height, width = self._image.shape[2:]
        return np.stack(self._frames) if self._frames else np.zeros((0, height, width, 3), np.uint8)


def _climb(ascent: Ascent, film: _Film, progress: Progress | None) -> tuple[str, ...]:
    """Take all steps; on Ctrl-C stop, and return a note that says after which step."""
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
    """The present picture, with notes on how far to trust it."""
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
    """The settings; defaults depend on the picture's shorter side."""
    return Settings(
        n_steps=n_steps,
        step_size=step_size,
        l2=l2,
        blur=round(min(BLUR, LARGEST_BLUR * side), 2) if blur is None else blur,
        clear=clear,
        jitter_px=round(JITTER * side) if jitter_px is None else jitter_px,
    )


def _first(model: Model, start: Start, size_px: int | Pair | None, generator: torch.Generator) -> torch.Tensor:
    """The first picture (1, C, H, W), which requires gradients."""
    if isinstance(start, str) and start in ("zero", "noise"):
        shape = model.input_shape(None if size_px is None else as_pair(size_px, "size_px"))
        x = torch.zeros(1, *shape, dtype=torch.float32, device="cpu")
        if start == "noise":
            x = NOISE * torch.randn(x.shape, generator=generator, dtype=torch.float32, device="cpu")
    else:
        if size_px is not None:
            raise ParameterError("size_px: a picture that starts from an image has the size of that image")
        if isinstance(start, str) and not os.path.exists(start):
            raise unfit(start, "start", "'zero', 'noise', an image, or the path of one")
        inputs = model.inputs(start)
        inputs.need_pictures("visualize")
        if len(inputs) != 1:
            raise ParameterError(f"start: {len(inputs)} images; expected one")
        x = next(inputs.batches(1)).x
    dtype = torch.promote_types(model.dtype, torch.float32)
    return x.to(model.device, dtype).contiguous().clone().requires_grad_()
