"""The maps of one call, collected a batch at a time and put together at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..results import Array, Attribution, Provenance


class Maps:
    """What an attribution method has found so far."""

    def __init__(self) -> None:
        self._values: list[Array] = []
        self._scores: list[Array] = []
        self._images: list[Array] = []
        self._names: list[str] = []
        self._targets: list[str] = []

    def __len__(self) -> int:
        return len(self._names)

    def add(
        self,
        values: torch.Tensor,
        scores: torch.Tensor,
        images: Array,
        names: Sequence[str],
        targets: Sequence[str],
    ) -> None:
        """Take in n images: values (n, H, W), scores (n,), images (n, H, W, 3) as the network saw them."""
        self._values.append(values.detach().float().cpu().numpy())
        self._scores.append(scores.detach().float().cpu().numpy())
        self._images.append(images)
        self._names.extend(names)
        self._targets.extend(targets)

    def result(self, provenance: Provenance) -> Attribution:
        return Attribution(
            values=np.concatenate(self._values),
            targets=tuple(self._targets),
            scores=np.concatenate(self._scores),
            images=np.concatenate(self._images),
            names=tuple(self._names),
            provenance=provenance,
        )
