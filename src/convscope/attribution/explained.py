"""Images whose scores are explained: the network's run on them, and on variants of one of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ..execution import check_differentiable, convolutions_of, fused, in_batches
from ..models import Batch
from ..perturbation import EXACT, ROUGH, finite, score_variants
from ..results import Array
from ..targets import Targets, n_classes_of, note_on_scores, resolve

if TYPE_CHECKING:
    from .calls import Asking


class Explained:
    """Images of one batch, preprocessed, and how to score them and variants of them.

    ``targets`` and ``scores`` (n, T) are there once `whole` has run the network on the images themselves; and the
    context ``fusing`` for many more runs like that one, where images come one after another.
    """

    fusing: AbstractContextManager[Any]
    targets: Targets
    _size: torch.Tensor
    scores: torch.Tensor

    def __init__(self, call: Asking, batch: Batch) -> None:
        self.call, self.batch = call, batch
        self.model, self.x = call.model, batch.x
        self.pixels: Array = self.model.to_pixels(batch.x)

    def __len__(self) -> int:
        return len(self.x)

    def whole(self, x: torch.Tensor | None = None) -> torch.Tensor:
        """Run the network on the images, and return their scores (n, T); ``x`` is these images with a gradient."""
        output = self.model.module((self.x if x is None else x).clone())  # its first operation may be in place
        normalization = self.call.normalization(n_classes_of(output))
        self.targets = resolve(
            self.call.target,
            output,
            self.model.labels,
            n_batch=len(self),
            positions=self.batch.positions,
            n_images=len(self.call.inputs),
            score=self.call.score,
            normalization=normalization,
        )
        if self.targets.indices is not None and (normalization != "sigmoid" or self.call.score == "probability"):
            self.call.note(*note_on_scores(normalization))
        scores = self.targets.of(output, len(self))
        names = [name for name in self.batch.names for _ in range(scores.shape[1])]
        finite(scores.flatten(), names)
        self.scores = scores.detach()
        self._size = output.detach().abs().max() if isinstance(output, torch.Tensor) else self.scores.abs().max()
        return scores

    def watch(self, *, gradients: bool) -> None:
        """Run the network on a single image, and see what of it can be fused so that it still gives the same."""
        x = self.x.clone().requires_grad_(gradients)
        with torch.set_grad_enabled(gradients):
            self.fusing = fused(convolutions_of(self.model.module, lambda: self.whole(x)), gradients=gradients)
            with self.fusing:
                again = self.scores_of(x, 0).detach()
        size = torch.maximum(self._size, self.scores.abs().max())
        is_exact = self.model.dtype in (torch.float32, torch.float64)
        if not (again - self.scores).abs().max() <= (EXACT if is_exact else ROUGH) * size:
            self.fusing = nullcontext()
            note = "whole networks were run as they are, as fused operations gave other scores; please report this"
            self.call.note(note)

    def scores_of(self, variants: torch.Tensor, image: int | None = None) -> torch.Tensor:
        """The scores (M, T) of M variants of one image, or of the images in their order.

        All at once, or one after the other in a network that mixes them.
        """
        if self.call.rows_independent:
            return self.targets.of(self.model.module(variants.clone()), len(variants), image)
        rows = enumerate(variants.clone())
        each = [self.targets.of(self.model.module(x[None]), 1, i if image is None else image) for i, x in rows]
        return torch.cat(each)

    def score_variants(self, n: int, variants: Callable[[int, int], torch.Tensor], image: int = 0) -> torch.Tensor:
        """The scores (n, T) of n variants of one image; ``variants`` makes some of them when it is their turn.

        See `perturbation.score_variants`. Progress goes on by n steps.
        """
        return score_variants(
            self.model,
            (self.x.shape[1], self.x.shape[2], self.x.shape[3]),
            n,
            variants,
            partial(self.targets.of, image=image),
            fusing=self.fusing,
            progress=self.call.advance,
        )

    def gradients(self, variants: torch.Tensor, image: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The scores (M, T) of variants (M, C, H, W), and the gradient of each at its variant, (T, M, C, H, W)."""
        x = variants.detach().clone().requires_grad_()
        scores = self.scores_of(x, image)
        check_differentiable(scores, self.model.name)
        return scores.detach(), gradients_of(scores, x)

    def mean_over(self, n: int, term: Callable[[int, int], torch.Tensor]) -> torch.Tensor:
        """The mean over 0..n of term(first, end), which returns the sum of its part.

        As many at once as are fastest and fit in memory; progress goes on by as many steps.
        """
        total: list[torch.Tensor] = []
        shape = (self.x.shape[1], self.x.shape[2], self.x.shape[3])

        def add(first: int, end: int) -> None:
            part = term(first, end)
            total[:] = [total[0] + part] if total else [part]

        done = 0
        size = self.model.fitting_batch(shape, backward=True, fused=True)
        with self.fusing:
            for end in in_batches(n, size, add):
                self.call.advance(end - done)
                done = end
        return total[0] / n


def gradients_of(scores: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The gradient (T, M, ...) of scores (M, T), each of its own row of x (M, ...); in float32 at least."""
    n_targets = scores.shape[1]
    gradients = torch.stack(
        [torch.autograd.grad(scores[:, t].sum(), x, retain_graph=t + 1 < n_targets)[0] for t in range(n_targets)]
    )
    return gradients.to(torch.promote_types(gradients.dtype, torch.float32))  # as sums over many would lose digits
