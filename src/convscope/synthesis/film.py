"""Pictures on the way of an ascent, to keep and to watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch

from ..models import Model
from ..progress import Progress
from ..results import Array
from .ascent import Ascent

Watching: TypeAlias = Callable[[int, Any, float], None]  # steps done, picture (H, W, 3) uint8, score


class Film:
    """Pictures on the way, evenly spread over the steps, for those who asked for frames or watch."""

    def __init__(
        self, model: Model, n_steps: int, n_frames: int, watch: Watching | None, progress: Progress | None
    ) -> None:
        self._model, self._watch, self._progress = model, watch, progress
        self._wanted = set(np.linspace(n_steps, 0, n_frames).round().astype(int).tolist()) - {n_steps}
        self._n_frames = n_frames
        self._pictures: list[torch.Tensor] = []

    def take(self, ascent: Ascent) -> None:
        """Before each step, and after the last."""
        done = len(ascent.scores)
        if self._progress and done:
            self._progress(done, ascent.recipe.n_steps)
        if done in self._wanted or self._watch:
            with torch.no_grad():
                picture = ascent.pictures(ascent.free[:1])
            if done in self._wanted:
                self._pictures.append(picture.float().cpu().clone())
            if self._watch:
                score = float((ascent.scores[-1] if done else ascent.start)[0])
                self._watch(done, self._model.to_pixels(picture)[0], score)

    def rewind(self) -> None:
        """Forget what an ascent showed that is started again."""
        self._pictures.clear()

    def frames(self, finished: torch.Tensor) -> Array:
        """(F, H, W, 3) uint8: those that were wanted, and last the finished picture (1, C, H, W)."""
        if not self._n_frames:
            return np.zeros((0, *finished.shape[2:], 3), np.uint8)
        pictures = [*self._pictures, finished.float().cpu()]
        # As one picture, below each other: each alone has a scale of its own if the network's mean and std are not
        # known, and the film would flicker.
        pixels: Array = self._model.to_pixels(torch.cat(pictures, dim=2))[0]
        return pixels.reshape(len(pictures), *finished.shape[2:], 3)
