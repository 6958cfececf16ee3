"""Gradient ascent on the pixels of one picture."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import ModelError
from ..execution import check_differentiable, convolutions_of, fused
from ..models import Model, gaussian_blur
from .objectives import Objective
from .transforms import clear_small, shift

# The picture is blurred and cleared only every few steps, so that the ascent can build on it in between. At first
# the blur is wide and lets large shapes form; then it narrows and lets details appear.
TRANSFORM_EVERY = 4
FINAL_BLUR = 0.5
# The jitter is a share of the picture's shorter side, 32 px at 224: shifted by up to 32 px, a digit of 32 px would
# have no fixed position, and no picture of it would form. The blur acts against noise, whose scale is a pixel at
# any size, so it is in pixels, but at most a 10th of the shorter side.
JITTER, BLUR, LARGEST_BLUR = 1 / 7, 3.0, 1 / 10
# The smallest float16 number is 6e-8, and the gradient of a pixel is often smaller. So the score is multiplied by
# this factor first, or by a smaller one if the gradient then overflows.
SCALE, LEAST_SCALE = 2.0**10, 2.0**-14
ALIKE = 1e-3  # of the score: how much float32 rounding in fused operations may change it


@dataclass(frozen=True)
class Settings:
    """The settings of an ascent; see `visualize`. ``blur`` is a sigma in pixels."""

    n_steps: int
    step_size: float
    l2: float
    blur: float
    clear: float
    jitter_px: int


class Ascent:
    """Gradient ascent of S(I) - l2 * ||I||^2 on a picture I (1, C, H, W).

    The picture and the optimizer use at least float32 even if the network does not: in float16 Adam's epsilon is
    zero, and the first step would be 0 / 0.

    ``start`` is the score of the first picture; ``scores`` are those at the beginning of each step.
    """

    def __init__(
        self,
        model: Model,
        image: torch.Tensor,
        objective: Objective,
        settings: Settings,
        generator: torch.Generator,
    ) -> None:
        self.image, self.objective, self.settings = image, objective, settings
        self.scores: list[float] = []
        self._generator = generator
        self._dtype = model.dtype
        self._limits = _limits(model, image)
        self._scale = SCALE if model.dtype == torch.float16 else 1.0
        self._adam = torch.optim.Adam([image], lr=settings.step_size, maximize=True)
        self._fusing = self._fused(model)
        self.start = self.score()

    def _fused(self, model: Model) -> AbstractContextManager[Any]:
        """A context in which the network's operations are fused, if the score then stays the same."""
        if model.dtype != torch.float32:
            return nullcontext()
        plain: list[torch.Tensor] = []
        found = convolutions_of(model.module, lambda: plain.append(self.objective.value(self.image)))
        fusing = fused(found, gradients=True)
        with fusing:
            difference = (self.objective.value(self.image) - plain[0]).detach().abs()
        return fusing if difference <= ALIKE * plain[0].detach().abs() else nullcontext()

    def score(self) -> float:
        """S(I) of the present picture, unshifted, by the network itself."""
        with torch.no_grad():
            return self._checked(self.objective.value(self.image))

    def strayed(self, score: float) -> tuple[str, ...]:
        """A note where the steps climbed another score than this one, of the finished picture.

        What TorchScript reads of a fused convolution is not seen, and may differ for some values alone.
        """
        if isinstance(self._fusing, nullcontext):
            return ()
        with torch.no_grad():
            climbed = float(self._value(self.image))
        if abs(climbed - score) <= ALIKE * max(abs(score), *map(abs, self.scores), abs(self.start)):
            return ()
        return (
            f"the steps ran on fused operations, which give the finished picture the score {climbed:.4g}, not "
            f"{score:.4g}: it may not be what the target likes; please report this",
        )

    def step(self) -> None:
        """Take one step, with the gradient of the shifted picture."""
        settings, n_done = self.settings, len(self.scores)
        seen = shift(self.image, settings.jitter_px, self._generator) if settings.jitter_px else self.image
        value = self._value(seen)
        check_differentiable(value, self.objective.name)
        score = self._checked(value)
        self.image.grad = self._gradient(value) - 2 * settings.l2 * self.image.detach()
        self._adam.step()
        with torch.no_grad():
            if (n_done + 1) % TRANSFORM_EVERY == 0:
                self._transform(n_done / settings.n_steps)
            if self._limits is not None:
                self.image.clamp_(*self._limits)
        self.scores.append(score)

    def _value(self, image: torch.Tensor) -> torch.Tensor:
        with self._fusing:
            return self.objective.value(image)

    def _gradient(self, value: torch.Tensor) -> torch.Tensor:
        """dS/dI, for float16 computed from the score times as large a factor as its range allows."""
        while True:
            is_last = self._dtype != torch.float16 or self._scale <= LEAST_SCALE
            (gradient,) = torch.autograd.grad(value * self._scale, self.image, retain_graph=not is_last)
            if torch.isfinite(gradient).all():
                return gradient / self._scale
            if is_last:
                raise ModelError(f"{self.objective.name}: the gradient is NaN or infinite; {_advice(self._dtype)}")
            self._scale /= 16

    def _checked(self, value: torch.Tensor) -> float:
        score = float(value.detach())
        if not np.isfinite(score):
            raise ModelError(f"{self.objective.name}: the score became {score}; {_advice(self._dtype)}")
        return score

    def _transform(self, progress: float) -> None:
        settings = self.settings
        blur = settings.blur + (min(settings.blur, FINAL_BLUR) - settings.blur) * progress
        if blur:
            self.image.copy_(gaussian_blur(self.image, blur))
        if settings.clear:
            self.image.copy_(clear_small(self.image, settings.clear))


def _advice(dtype: torch.dtype) -> str:
    if dtype == torch.float16:
        return (
            "the network is in half precision (float16), whose largest number is 65504: run it in float32 "
            "(module.float()) or bfloat16"
        )
    return "a smaller step_size may help"


def _limits(model: Model, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The normalized values of black and white, to which pixels are clamped; None if unknown."""
    if model.preprocessing is None:
        return None
    black = torch.zeros_like(image[0, :, :1, :1])
    return model.preprocessing.from_unit(black), model.preprocessing.from_unit(black + 1)
