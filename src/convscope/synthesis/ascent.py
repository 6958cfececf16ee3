"""Gradient ascent on the free variables of a batch of pictures, each with an objective of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..checks import Pair
from ..errors import ModelError
from ..execution import check_differentiable, in_batches
from ..models import gaussian_blur
from . import penalties
from .objective_network import ALIKE, Modes, Network
from .parameterizations import Parameterization
from .presets import Recipe
from .transforms import as_seen, views

LOOK_EVERY = 16  # steps: how often the whole picture is scored, of which the best is kept
PIXELS_EVERY = 4  # steps: how often pixels are blurred and cleared; in between the ascent can build on them
FINAL_BLUR = 0.5  # pixels
# The smallest float16 number is 6e-8, and the gradient of a pixel is often smaller. So the score is multiplied by
# this factor first, or by a smaller one if the gradient then overflows.
SCALE, LEAST_SCALE = 2.0**10, 2.0**-14
# Pictures are climbed in groups. On a CPU, views of 2 x 224 x 224 pixels are fastest at once (ResNet18, one core):
# the maps of more no longer fit into the caches, and of fewer the calls cost more than the arithmetic.
PIXELS_AT_ONCE, PIXELS_AT_ONCE_ELSEWHERE = 2 * 224**2, 64 * 224**2


class DivergedError(Exception):
    """A score or a gradient became NaN or infinite after the first step."""


class Ascent:
    """Gradient ascent of S(I) - penalties on B pictures I.

    The free variables and the optimizer use at least float32 even if the network does not: in float16 Adam's
    epsilon is zero, and the first step would be 0 / 0.

    ``start`` (B,) are the scores of the first pictures, seen whole; ``scores`` those of the views at each step;
    ``best`` the free variables of the best whole pictures so far, and ``best_score`` their scores less the
    penalties. After each step ``keep`` says which allowed free variables are nearest.
    """

    scores: list[torch.Tensor]

    def __init__(
        self,
        network: Network,
        parameterization: Parameterization,
        free: torch.Tensor,
        recipe: Recipe,
        sizes: tuple[Pair, Pair] | None,
        generators: Sequence[torch.Generator],
        names: Sequence[str],
        keep: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.free, self.recipe, self.scores = free.requires_grad_(), recipe, []
        self._network, self._make, self._sizes = network, parameterization, sizes
        self._generators, self._names, self._keep = generators, ", ".join(names), keep
        self._half = network.model.dtype == torch.float16
        self._scale = SCALE if self._half else 1.0
        self._optimizer: torch.optim.Optimizer
        if recipe.optimizer == "adam":
            self._optimizer = torch.optim.Adam([self.free], lr=recipe.step_size, maximize=True, fused=True)
        else:
            self._optimizer = torch.optim.NAdam([self.free], lr=recipe.step_size, maximize=True)
        picture = self.whole(self.pictures(self.free[:1]))
        self._size = (picture.shape[2], picture.shape[3])  # of views, too
        first = network.fuse(picture)
        self.start = self._checked(first if len(free) == 1 else self.whole_values(self.free, network.climbed))
        self._last = self._best_value = self.start
        self._shut = torch.zeros(len(free), dtype=torch.bool, device=free.device)  # where a view had no gradient
        self.best, self.best_score, self.best_at = free.detach().clone(), self._penalized(self.start), 0

    def pictures(self, free: torch.Tensor | None = None) -> torch.Tensor:
        """The pictures (B, C, H, W) of free variables, by default of the present, as the network takes them."""
        return self._make.picture(self.free if free is None else free)

    def whole(self, pictures: torch.Tensor) -> torch.Tensor:
        """What the network sees of whole pictures after the usual preprocessing."""
        return pictures if self._sizes is None else as_seen(pictures, *self._sizes)

    def whole_values(self, free: torch.Tensor, modes: Modes = ()) -> torch.Tensor:
        """(B,): S of the whole pictures of free variables."""
        found: list[torch.Tensor] = []

        def run(first: int, end: int) -> None:
            rows = slice(first, end)
            pictures = self.whole(self.pictures(free[rows]))
            found.append(self._network.values(pictures, modes, rows)[:, 0])

        with torch.no_grad():
            for _ in in_batches(len(free), self._group(1), run):
                pass
        return torch.cat(found)

    def step(self) -> None:
        """Take one step: the mean over the views, less the penalties, with its gradient at the free variables."""
        recipe, progress = self.recipe, len(self.scores) / self.recipe.n_steps
        found: list[tuple[torch.Tensor, torch.Tensor]] = []
        group = self._group(recipe.n_views)
        for _ in in_batches(len(self.free), group, lambda i, end: found.append(self._climbing(slice(i, end)))):
            pass
        values, gradient = (torch.cat(each) for each in zip(*found, strict=True))
        self.scores.append(values)
        if recipe.is_normalized:
            gradient = gradient / _column(gradient.flatten(1).norm(dim=1).clamp_min(1e-12), gradient)
        self.free.grad = gradient.contiguous()  # as the free variables are: the fused Adam reads memory as it lies
        self._optimizer.param_groups[0]["lr"] = recipe.rate(progress)
        self._optimizer.step()
        with torch.no_grad():
            self._tidy(progress)
            if len(self.scores) % LOOK_EVERY == 0 or len(self.scores) == recipe.n_steps:
                self.look()

    def _climbing(self, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """The values of some pictures' views, (n,), and the gradients at their free variables."""
        free = self.free[rows].detach().requires_grad_()
        pictures = self.pictures(free)
        seen = self._views(pictures, rows)
        values, pull = self._pull(seen, rows, self._network.climbed)
        self._shut[rows] |= pull.abs().amax(dim=(1, 2, 3)).reshape(len(free), -1).amax(dim=1) == 0
        if self._shut[rows].any():  # and for the rest of the ascent, or one place that opens would be all there is
            opening = self._pull(seen, rows, self._network.opened)[1]
            shut = self._shut[rows].repeat_interleave(self.recipe.n_views)
            pull = torch.where(_column(shut, pull), opening, pull)
        ends, pulls = [seen], [pull]
        if (penalty := self._penalty(pictures)).requires_grad:
            ends, pulls = [seen, penalty], [pull, torch.full_like(penalty, -1)]
        (gradient,) = torch.autograd.grad(ends, free, pulls)
        if not _is_finite(gradient):
            raise self._failed("the gradient is NaN or infinite")
        return values, gradient

    def _pull(self, seen: torch.Tensor, rows: slice, modes: Modes) -> tuple[torch.Tensor, torch.Tensor]:
        """The values of some pictures, (n,), the means over their views, and their gradients at the views."""
        seen = seen.detach().requires_grad_()
        values = self._network.values(seen, modes, rows).mean(dim=1)
        check_differentiable(values, self._names)
        return self._checked(values.detach()), self._gradient(values.sum(), seen)

    def _group(self, n_views: int) -> int:
        """How many pictures the network takes at once."""
        if any(one.compares for one in self._network.objectives):
            return len(self.free)
        height, width = self._size
        at_once = PIXELS_AT_ONCE if self.free.device.type == "cpu" else PIXELS_AT_ONCE_ELSEWHERE
        return max(1, at_once // (n_views * height * width))

    def look(self) -> None:
        """Score the whole pictures, and keep those that are better than before."""
        with torch.no_grad():
            self._last = self._checked(self.whole_values(self.free, self._network.climbed))
            score = self._penalized(self._last)
            better = score > self.best_score
            if better.any():
                self.best = torch.where(_column(better, self.free), self.free, self.best)
                self.best_score = torch.where(better, score, self.best_score)
                self._best_value = torch.where(better, self._last, self._best_value)
                self.best_at = len(self.scores)

    @property
    def has_collapsed(self) -> bool:
        """Whether no picture is better than the first one, and the last that was scored is worse."""
        return self.best_at == 0 and bool((self._last < self.start).all())

    def strayed(self, finals: torch.Tensor) -> list[str]:
        """A note where the steps climbed other scores than those of the network itself, of the finished pictures.

        What TorchScript reads of a fused convolution is not seen, and may differ for some values alone.
        """
        climbed = self._best_value
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

    def _views(self, pictures: torch.Tensor, rows: slice) -> torch.Tensor:
        """Random views of some pictures."""
        look = self.recipe.look(len(self.scores) / self.recipe.n_steps)
        return views(pictures, self.recipe.n_views, self._size, look, self._generators[rows])

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

    def _gradient(self, value: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """The gradient at the views, for float16 from the value times as large a factor as its range allows."""
        while True:
            is_last = not self._half or self._scale <= LEAST_SCALE
            (gradient,) = torch.autograd.grad(value * self._scale, seen, retain_graph=not is_last)
            if _is_finite(gradient):
                return gradient if self._scale == 1 else gradient / self._scale
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
        if not self.scores and not self._half:
            return ModelError(f"{self._names}: {what} before any step; look for NaN in the network's weights")
        return ModelError(f"{self._names}: {what}; {_advice(self._network.model.dtype)}")

    def _tidy(self, progress: float) -> None:
        """What is done to the free variables between two steps: blur, clear, and keep within the limits."""
        recipe = self.recipe
        if len(self.scores) % PIXELS_EVERY == 0:
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


def _advice(dtype: torch.dtype) -> str:
    """What to try where numbers end."""
    if dtype == torch.float16:
        return (
            "the network is in half precision (float16), whose largest number is 65504: run it in float32 "
            "(module.float()) or bfloat16"
        )
    return "a smaller step_size may help"


def _is_finite(values: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite. A sum is far cheaper; if it overflows, each value is looked at."""
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def _column(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(B,) as (B, 1, 1, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
