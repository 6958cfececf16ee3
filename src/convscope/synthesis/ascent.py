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

# The picture is smoothed and cleared every few steps, so that the ascent can build on it in between. A wide
# blur at first lets large shapes form; it narrows as the steps go on, and details come in.
TRANSFORM_EVERY = 4
FINAL_BLUR = 0.5
# The jitter is a share of the picture's shorter side, 32 px at 224: a digit of 32 px that is moved by 32 px is
# nowhere, and no picture of it comes out. Noise is a matter of pixels, however many there are, and so is the
# blur against it, as long as it leaves something of the picture.
JITTER, BLUR, LARGEST_BLUR = 1 / 7, 3.0, 1 / 10
# Numbers of float16 end at 6e-8, below which the gradient of a pixel often is. It is taken of the score times
# this, and of less where that is too much.
SCALE, LEAST_SCALE = 2.0**10, 2.0**-14
ALIKE = 1e-3  # of the score: what float32 rounding may make of it in fused operations


@dataclass(frozen=True)
class Settings:
    """How a picture is made; see `visualize`. ``blur`` is a sigma in pixels."""

    n_steps: int
    step_size: float
    l2: float
    blur: float
    clear: float
    jitter_px: int


class Ascent:
    """A picture (1, C, H, W) on its way up S(I) - l2 * ||I||^2.

    The picture and the optimizer are of float32 also where the network is not: in float16 Adam's epsilon is zero,
    and the first step is nothing by nothing.

    ``start`` is the score of the first picture, ``scores`` are those that the steps went up from.
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
        """The network with its operations fused for all the steps, where it then gives the same score."""
        if model.dtype != torch.float32:
            return nullcontext()
        plain: list[torch.Tensor] = []
        found = convolutions_of(model.module, lambda: plain.append(self.objective.value(self.image)))
        fusing = fused(found, gradients=True)
        with fusing:
            difference = (self.objective.value(self.image) - plain[0]).detach().abs()
        return fusing if difference <= ALIKE * plain[0].detach().abs() else nullcontext()

    def score(self) -> float:
        """S(I) of the picture as it is, by the network itself."""
        with torch.no_grad():
            return self._checked(self.objective.value(self.image))

    def strayed(self, score: float) -> tuple[str, ...]:
        """A note where the steps went up another score than this one of the finished picture.

        A network that takes another path for some values may have been fused for the path of the first picture.
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
        """One step up, from the picture as it is shifted for it."""
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
        """dS/dI, in float16 of the score times as much as its numbers allow."""
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
            "the network is in half precision (float16), whose numbers end at 65504: run it in float32 "
            "(module.float()) or bfloat16"
        )
    return "a smaller step_size may help"


def _limits(model: Model, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The normalized values of black and white, beyond which there is no picture; None where unknown."""
    if model.preprocessing is None:
        return None
    black = torch.zeros_like(image[0, :, :1, :1])
    return model.preprocessing.from_unit(black), model.preprocessing.from_unit(black + 1)
