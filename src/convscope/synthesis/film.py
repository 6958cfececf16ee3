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
        self._wanted = set(np.linspace(n_steps, 0, n_frames).round().astype(int).tolist())
        self.frames: list[Array] = []

    def take(self, ascent: Ascent) -> None:
        """Before each step, and after the last."""
        done, total = len(ascent.scores), ascent.recipe.n_steps
        if self._progress and done:
            self._progress(done, total)
        if (done in self._wanted and done < total) or self._watch:
            with torch.no_grad():
                picture = self._model.to_pixels(ascent.pictures())[0]
            if done in self._wanted and done < total:
                self.frames.append(picture)
            if self._watch:
                self._watch(done, picture, float((ascent.scores[-1] if done else ascent.start)[0]))
