"""Presets: recipes for an ascent by name, and what a recipe consists of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from ..checks import PresetName, as_choice, as_count, as_items, as_number, unfit
from ..errors import ParameterError
from .parameterizations import Domain
from .transforms import Look

Optimizer: TypeAlias = Literal["adam", "nadam"]

_SHARES = "(least, most), shares of the picture's side"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an ascent does; it checks itself. `PRESETS` has four, and ``replace`` makes others of these.

    Args:
        domain: what is free: "pixels", "fourier", "pyramid", or "maco" (the phase alone).
        n_steps: the number of steps.
        n_views: random views of the picture in each step.
        optimizer, step_size: Adam or NAdam, and its rate.
        is_annealed: whether the rate falls to zero over the second half of the steps.
        contrast: the largest spread of the values in a picture, 1 for that of a photo; None for no limit.
        crop: the side of a view as a share of the picture's, from least to most.
        crop_end: the same at the last step, where views narrow over the run; None for the same throughout.
        jitter: the largest shift of a view, as a share of the picture's side.
        rotate: the largest angle of a view, in degrees.
        flip: whether half of the views are mirrored.
        noise: the standard deviation of noise on a view, in units of the network's input.
        l2, l1, total_variation: weights of the penalties, on the network's input.
        blur, clear: only of pixels, every 4th step: the sigma in pixels of a blur that falls to 0.5, and the share
            of the smallest pixels that become zero.
        is_normalized: whether each picture's gradient is divided by its norm.
        patience: the steps without a better picture after which the ascent ends; None for never.
    """

    domain: Domain = "fourier"
    n_steps: int = 128
    n_views: int = 2
    optimizer: Optimizer = "adam"
    step_size: float = 0.08
    is_annealed: bool = True
    contrast: float | None = 1.0
    crop: tuple[float, float] = (0.35, 0.95)
    crop_end: tuple[float, float] | None = None
    jitter: float = 0.0
    rotate: float = 0.0
    flip: bool = False
    noise: float = 0.06
    l2: float = 0.0
    l1: float = 0.0
    total_variation: float = 0.0
    blur: float = 0.0
    clear: float = 0.0
    is_normalized: bool = False
    patience: int | None = None

    def __post_init__(self) -> None:
        as_choice(self.domain, "domain", get_args(Domain))
        as_choice(self.optimizer, "optimizer", get_args(Optimizer))
        for name in ("n_steps", "n_views"):
            as_count(getattr(self, name), name, 1)
        for name in ("step_size", "l2", "l1", "total_variation", "blur", "clear", "noise", "jitter", "rotate"):
            if as_number(getattr(self, name), name) < 0:
                raise unfit(getattr(self, name), name, "a number of at least 0")
        for name in ("crop",) if self.crop_end is None else ("crop", "crop_end"):
            given = as_items(getattr(self, name), name, _SHARES)
            shares = tuple(as_number(share, name) for share in given)
            if not (len(shares) == 2 and 0 < shares[0] <= shares[1]):
                raise unfit(getattr(self, name), name, _SHARES)
            object.__setattr__(self, name, shares)
        if (self.blur or self.clear) and self.domain != "pixels":
            raise ParameterError(f"blur and clear act on pixels, not in the domain {self.domain!r}")

    def look(self, progress: float) -> Look:
        """How views are taken when this share of the steps is done."""
        last = self.crop_end or self.crop
        least, most = (a + (b - a) * progress for a, b in zip(self.crop, last, strict=True))
        return Look((least, most), self.jitter, self.rotate, self.flip, self.noise)

    def rate(self, progress: float) -> float:
        """The optimizer's rate when this share of the steps is done."""
        return self.step_size * (min(1.0, 2 * (1 - progress)) if self.is_annealed else 1.0)


PRESETS: dict[PresetName, Recipe] = {
    # A picture with the colors, the contrast and the mixture of coarse and fine of a photo.
    "natural": Recipe(),
    # The same amplitude at every frequency as in photos: only where things are is free.
    "maco": Recipe(domain="maco", n_views=4, optimizer="nadam", step_size=0.3,
        crop=(0.25, 0.6), crop_end=(0.1, 0.5)),
    # More contrast, and few things that are whole: most of the picture, a little moved and turned, in each view.
    "crisp": Recipe(contrast=1.4, step_size=0.06, crop=(0.6, 1.05), jitter=0.03,
        rotate=5.0, noise=0.03, total_variation=2e-5),
    # I* = argmax S(I) - l2 * ||I||^2 from the zero image, and nothing else.
    "plain": Recipe(
        domain="pixels", n_steps=256, n_views=1, step_size=0.2, is_annealed=False, contrast=None, crop=(1.0, 1.0),
        noise=0.0, l2=1e-5,
    ),
}  # fmt: skip


def recipe_of(preset: PresetName | Recipe, n_steps: int | None, changes: dict[str, Any] | None = None) -> Recipe:
    """The recipe of a preset, with another number of steps if given."""
    recipe: Recipe = preset if isinstance(preset, Recipe) else PRESETS[preset]
    asked: dict[str, Any] = {**({} if n_steps is None else {"n_steps": n_steps}), **(changes or {})}
    return replace(recipe, **asked)
