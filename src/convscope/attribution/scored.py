"""Images with their scores: what a method gets from its `Run`, complete, a batch or a single image at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from ..checks import InputShape, Sides
from ..errors import ModelError
from ..execution import check_differentiable, in_batches
from ..models import Model
from ..perturbation import score_variants
from ..results import Array
from ..targets import Targets


@dataclass(frozen=True)
class ScoredBatch:
    """n preprocessed images with T scores each, for a method that runs the network once.

    Attributes:
        model: the network.
        x: (n, C, H, W), the images; or signals (n, C, L), volumes (n, C, D, H, W).
        pixels: (n, H, W, 3) uint8, the images as `Model.to_pixels` shows them.
        names: of the images, n.
        labels: that they came with, n; None where there is none.
        targets: whose scores they are.
        scores: (n, T), with the graph of the pass that made them where the run takes gradients.
        leaf: ``x`` as it went into that pass; it takes a gradient where the run asks for gradients at the image.
        kept: what the context of that pass kept of it (see `Run.by_batch`).
    """

    model: Model
    x: torch.Tensor
    pixels: Array
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    targets: Targets
    scores: torch.Tensor
    leaf: torch.Tensor
    kept: Any = None

    @property
    def size(self) -> Sides:
        """(height, width) of the images, (length,) of signals, (depth, height, width) of volumes."""
        return tuple(self.x.shape[2:])

    def gradients(self) -> torch.Tensor:
        """The gradients (T, n, C, H, W) of the scores with respect to the images; can be taken once."""
        check_differentiable(self.scores, self.model.name)
        return gradients_of(self.scores, self.leaf)


@dataclass(frozen=True)
class ScoredImage:
    """One preprocessed image with T scores, for a method that runs the network on many variants of it.

    Attributes:
        model: the network.
        x: (C, H, W), the image; or a signal (C, L), a volume (C, D, H, W).
        pixels: (H, W, 3) uint8, the image as `Model.to_pixels` shows it.
        name: of the image.
        label: that it came with, or None.
        position: its place among all images of the call.
        targets: whose scores they are.
        scores: (T,).
        rows_independent: whether variants can share a batch.
        fusing: a context in which the network runs with fused operations, wherever these give the same scores.
        advance: reports that so many steps more are done.
    """

    model: Model
    x: torch.Tensor
    pixels: Array
    name: str
    label: str | None
    position: int
    targets: Targets
    scores: torch.Tensor
    rows_independent: bool
    fusing: AbstractContextManager[Any]
    advance: Callable[[int], None]

    @property
    def as_batch(self) -> ScoredBatch:
        """The image alone as a batch, with its scores, which have no graph."""
        x, pixels, scores = self.x[None], self.pixels[None], self.scores[None]
        return ScoredBatch(self.model, x, pixels, (self.name,), (self.label,), self.targets, scores, x)

    @property
    def shape(self) -> InputShape:
        """(C, H, W)."""
        return tuple(self.x.shape)

    @property
    def size(self) -> Sides:
        """(height, width), as of `ScoredBatch`."""
        return self.shape[1:]

    @property
    def spread(self) -> torch.Tensor | None:
        """Of several inputs in one tensor, the range of each at its place; None for an image."""
        packing = self.model.packing
        if packing is None:
            return None
        return packing.each(lambda _, part: (part.max() - part.min()).expand(part.shape), self.x)

    def scores_of(self, variants: torch.Tensor) -> torch.Tensor:
        """The scores (M, T) of variants (M, C, H, W): in one batch, or one by one in a network that mixes rows."""
        copies = variants.clone()  # the network's first operation may be in place
        if self.rows_independent:
            return self.targets.of(self.model.module(copies), len(copies))
        return torch.cat([self.targets.of(self.model.module(row[None]), 1) for row in copies])

    def score_variants(self, n: int, variants: Callable[[int, int], torch.Tensor]) -> torch.Tensor:
        """The scores (n, T) of n variants, float64 on the CPU; ``variants`` makes those from first to end.

        Variants are made and run a batch at a time, without gradients; each is a step of the progress.
        """
        return score_variants(
            self.model, self.shape, n, variants, self.targets.of, fusing=self.fusing, progress=self.advance
        )

    def gradients(self, variants: torch.Tensor) -> torch.Tensor:
        """The gradient (T, M, C, H, W) of the score of each variant (M, C, H, W) with respect to that variant."""
        x = variants.detach().clone().requires_grad_()
        scores = self.scores_of(x)
        check_differentiable(scores, self.model.name)
        return gradients_of(scores, x)

    def mean_over(self, n: int, total_of: Callable[[int, int], torch.Tensor]) -> torch.Tensor:
        """The mean of n terms; ``total_of(first, end)`` is the sum of those from first to end.

        As many terms at once as run fastest and fit in memory; each is a step of the progress.
        """
        total: torch.Tensor | None = None

        def add(first: int, end: int) -> None:
            nonlocal total
            part = total_of(first, end)
            total = part if total is None else total + part

        done = 0
        size = self.model.fitting_batch(self.shape, backward=True, fused=True)
        with self.fusing:
            for end in in_batches(n, size, add):
                self.advance(end - done)
                done = end
        assert total is not None
        return total / n


BatchMaps: TypeAlias = Callable[[ScoredBatch], torch.Tensor]  # from n images to maps (T, n, *sides)
ImageMaps: TypeAlias = Callable[[ScoredImage], torch.Tensor]  # from one image to maps (T, *sides)
# From a batch of images, as they go into the network, to the context of their pass; what it yields is kept.
Keeping: TypeAlias = Callable[[torch.Tensor], AbstractContextManager[Any]]


def gradients_of(scores: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The gradient (T, M, ...) of scores (M, T), each of its own row of x (M, ...); in float32 at least."""
    n_targets = scores.shape[1]
    gradients = torch.stack([_gradient(scores[:, t].sum(), x, t + 1 < n_targets) for t in range(n_targets)])
    return gradients.to(torch.promote_types(gradients.dtype, torch.float32))  # sums over many would lose digits


def _gradient(score: torch.Tensor, x: torch.Tensor, retain_graph: bool) -> torch.Tensor:
    """The gradient of one score; `ModelError` if the network's backward pass fails, or does not reach x."""
    try:
        (gradient,) = torch.autograd.grad(score, x, retain_graph=retain_graph, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # such as reentrant checkpoints, or a value changed in place
        raise ModelError(f"the network's backward pass fails: {error}. occlusion works without one") from error
    if gradient is None:
        raise ModelError(
            "the score does not depend on the input in this run (does the network keep what it has computed "
            "before?); any map of it would be wrong"
        )
    return gradient
