"""Gradient ascent on the free variables of a batch of pictures, each with an objective of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ..checks import Pair
from ..errors import ModelError
from ..execution import check_differentiable, convolutions_of, fused
from ..models import Layer, Model, gaussian_blur
from . import penalties
from .objectives import Bound, seen_by
from .parameterizations import Parameterization
from .presets import Recipe
from .shut_units import Opened
from .transforms import as_seen, views

LOOK_EVERY = 16  # steps: how often the whole picture is scored, of which the best is kept
PIXELS_EVERY = (
    4  # steps: how often pixels are blurred and cleared, so that the ascent can build on them in between
)
FINAL_BLUR = 0.5
# The smallest float16 number is 6e-8, and the gradient of a pixel is often smaller. So the score is multiplied by
# this factor first, or by a smaller one if the gradient then overflows.
SCALE, LEAST_SCALE = 2.0**10, 2.0**-14
ALIKE = 1e-3  # of the score: how much float32 rounding in fused operations may change it


class DivergedError(Exception):
    """A score or a gradient became NaN or infinite after the first step."""


class Network:
    """A network as the ascent runs it: up to what the objectives read, and fused where that gives the same.

    ``size`` (height, width) is that of a view; ``resized`` that to which the usual preprocessing
    resizes first.
    """

    def __init__(
        self,
        model: Model,
        layers: Mapping[str, Layer],
        objectives: Sequence[Bound],
        layout: torch.memory_format,
        *,
        reads_output: bool,
    ) -> None:
        self.model, self.objectives, self._layers = model, objectives, layers
        self._layout, self._reads_output = layout, reads_output
        self.fusing: AbstractContextManager[Any] = nullcontext()

    def values(
        self,
        x: torch.Tensor,
        fusing: AbstractContextManager[Any] | None = None,
        which: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """The value of each view (B, n_views) of the pictures; by the network itself unless ``fusing`` is given.

        ``which``: the numbers of the pictures, where these are not all.
        """
        objectives = self.objectives if which is None else [self.objectives[i] for i in which]
        # A copy, because the network's first operation may be in place.
        x = x.to(self.model.dtype, copy=True, memory_format=self._layout)
        n = len(x) // len(objectives)
        with fusing or nullcontext():
            seen = seen_by(self.model, self._layers, x, reads_output=self._reads_output)
            each = [o.value(seen, slice(i * n, (i + 1) * n)) for i, o in enumerate(objectives)]
            return torch.stack(each)

    def fuse(self, x: torch.Tensor) -> None:
        """Fuse the network's operations for views like these, if the values then stay the same."""
        if self.model.dtype != torch.float32:
            return
        plain: list[torch.Tensor] = []
        found = convolutions_of(self.model.module, lambda: plain.append(self.values(x)))
        fusing = fused(found, gradients=True)
        difference = (self.values(x, fusing) - plain[0]).detach().abs()
        if (difference <= ALIKE * plain[0].detach().abs().amax()).all():  # one of many may be near zero
            self.fusing = fusing


class Ascent:
    """Gradient ascent of S(I) - penalties on B pictures I.

    The free variables and the optimizer use at least float32 even if the network does not: in float16 Adam's
    epsilon is zero, and the first step would be 0 / 0.

    ``start`` (B,) are the scores of the first pictures, seen whole; ``scores`` those of the views at each step;
    ``best`` the free variables of the best whole pictures so far, and ``best_score`` their scores. After each step
    ``keep`` says which allowed free variables are nearest.
    """

    def __init__(
        self,
        network: Network,
        parameterization: Parameterization,
        free: torch.Tensor,
        recipe: Recipe,
        sizes: tuple[Pair, Pair] | None,
        generator: torch.Generator,
        names: Sequence[str],
        keep: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.free, self.recipe, self.scores = free.requires_grad_(), recipe, []
        self._network, self._make, self._sizes = network, parameterization, sizes
        self._generator, self._names, self._keep = generator, ", ".join(names), keep
        self._half = network.model.dtype == torch.float16
        self._scale = SCALE if self._half else 1.0
        kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.NAdam
        self._optimizer = kind([self.free], lr=recipe.step_size, maximize=True)
        with torch.no_grad():
            self.start = self._checked(self.whole_values(self.pictures()))
        network.fuse(self._views(self.pictures()))
        self.best, self.best_score, self.best_at = free.detach().clone(), self._penalized(self.start), 0

    scores: list[torch.Tensor]

    def pictures(self, free: torch.Tensor | None = None) -> torch.Tensor:
        """The pictures (B, C, H, W) of free variables, by default of the present, as the network takes them."""
        return self._make.picture(self.free if free is None else free)

    def whole(self, pictures: torch.Tensor) -> torch.Tensor:
        """What the network sees of whole pictures after the usual preprocessing."""
        return pictures if self._sizes is None else as_seen(pictures, *self._sizes)

    def whole_values(self, pictures: torch.Tensor, fusing: Any = None) -> torch.Tensor:
        """(B,): S of whole pictures."""
        return self._network.values(self.whole(pictures), fusing)[:, 0]

    def step(self) -> None:
        """Take one step: the mean over the views, less the penalties, with its gradient at the free variables."""
        recipe, progress = self.recipe, len(self.scores) / self.recipe.n_steps
        pictures = self.pictures()
        seen = self._views(pictures)
        values = self._network.values(seen, self._network.fusing).mean(dim=1)
        check_differentiable(values, self._names)
        self.scores.append(self._checked(values.detach()))
        gradient = self._gradient((values - self._penalty(pictures)).sum())
        shut = gradient.flatten(1).abs().amax(dim=1) == 0
        if shut.any():
            which = shut.nonzero()[:, 0]
            opened = self._network.values(self._views(self.pictures()[which]), Opened(), which.tolist())
            gradient = gradient + self._gradient(opened.mean(dim=1).sum())  # zero for all others
        if recipe.is_normalized:
            gradient = gradient / _column(gradient.flatten(1).norm(dim=1).clamp_min(1e-12), gradient)
        self.free.grad = gradient
        self._optimizer.param_groups[0]["lr"] = recipe.rate(progress)
        self._optimizer.step()
        with torch.no_grad():
            self._keep_to_pixels(progress)
            if len(self.scores) % LOOK_EVERY == 0 or len(self.scores) == recipe.n_steps:
                self.look()

    def look(self) -> None:
        """Score the whole pictures, and keep those that are better than before."""
        with torch.no_grad():
            score = self._penalized(self._checked(self.whole_values(self.pictures(), self._network.fusing)))
            better = score > self.best_score
            if better.any():
                self.best = torch.where(_column(better, self.free), self.free, self.best)
                self.best_score = torch.where(better, score, self.best_score)
                self.best_at = len(self.scores)

    @property
    def has_collapsed(self) -> bool:
        """Whether no picture is better than the first one, and the last is worse."""
        with torch.no_grad():
            last = self.whole_values(self.pictures(), self._network.fusing)
        return self.best_at == 0 and bool((last < self.start).all())

    def strayed(self, finals: torch.Tensor) -> list[str]:
        """A note where the steps climbed other scores than those of the network itself, of the finished pictures.

        What TorchScript reads of a fused convolution is not seen, and may differ for some values alone.
        """
        climbed = self.whole_values(self.pictures(self.best), self._network.fusing)
        largest = torch.stack([finals.abs(), self.start.abs(), *(one.abs() for one in self.scores)]).amax()
        worst = int((climbed - finals).abs().argmax())
        if abs(float(climbed[worst] - finals[worst])) <= ALIKE * float(largest):
            return []
        return [
            f"the steps ran on fused operations, which give the finished picture the score {climbed[worst]:.4g}, "
            f"not {finals[worst]:.4g}: it may not be what the target likes; please report this"
        ]

    @property
    def is_done(self) -> bool:
        """Whether no picture has become better for as many steps as the recipe waits."""
        patience = self.recipe.patience
        return patience is not None and len(self.scores) - self.best_at >= max(patience, LOOK_EVERY)

    def _views(self, pictures: torch.Tensor) -> torch.Tensor:
        recipe, size = self.recipe, self._sizes[1] if self._sizes else tuple(pictures.shape[2:])
        look = recipe.look(len(self.scores) / recipe.n_steps)
        return views(pictures, recipe.n_views, (size[0], size[1]), look, self._generator)

    def _penalty(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B,): the weighted sum of the penalties."""
        found = torch.zeros(len(pictures), device=pictures.device, dtype=pictures.dtype)
        for name in ("l2", "l1", "total_variation"):
            if weight := getattr(self.recipe, name):
                found = found + weight * getattr(penalties, name)(pictures)
        return found

    def _penalized(self, scores: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return scores - self._penalty(self.pictures())

    def _gradient(self, value: torch.Tensor) -> torch.Tensor:
        """The gradient at the free variables, for float16 from the value times as large a factor as its range
        allows."""
        while True:
            is_last = not self._half or self._scale <= LEAST_SCALE
            (gradient,) = torch.autograd.grad(value * self._scale, self.free, retain_graph=not is_last)
            if torch.isfinite(gradient).all():
                return gradient / self._scale
            if is_last:
                raise self._failed("the gradient is NaN or infinite")
            self._scale /= 16

    def _checked(self, scores: torch.Tensor) -> torch.Tensor:
        if not torch.isfinite(scores).all():
            raise self._failed(f"the score became {float(scores[~torch.isfinite(scores)][0])}")
        return scores

    def _failed(self, what: str) -> Exception:
        """`DivergedError` once a step was taken; before that no smaller step would help."""
        if len(self.scores) > 1 and not self._half:
            return DivergedError(what)
        return ModelError(f"{self._names}: {what}; {advice(self._network.model.dtype)}")

    def _keep_to_pixels(self, progress: float) -> None:
        recipe = self.recipe
        if (len(self.scores)) % PIXELS_EVERY == 0:
            if blur := recipe.blur + (min(recipe.blur, FINAL_BLUR) - recipe.blur) * progress:
                self.free.copy_(gaussian_blur(self.free, blur))
            if recipe.clear:
                self.free.copy_(penalties.clear_small(self.free, recipe.clear))
        if self._make.limits is not None:
            self.free.clamp_(*self._make.limits)
        if self._keep is not None:
            self.free.copy_(self._keep(self.free))


def climb(ascent: Ascent, each: Callable[[Ascent], None]) -> None:
    """All steps of an ascent, or as many as it needs; ``each`` is called before each step and after the last."""
    each(ascent)
    while len(ascent.scores) < ascent.recipe.n_steps and not ascent.is_done:
        ascent.step()
        each(ascent)


def advice(dtype: torch.dtype) -> str:
    """What to try where numbers end."""
    if dtype == torch.float16:
        return (
            "the network is in half precision (float16), whose largest number is 65504: run it in float32 "
            "(module.float()) or bfloat16"
        )
    return "a smaller step_size may help"


def _column(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(B,) as (B, 1, 1, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
