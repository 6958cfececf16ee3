"""The maps of one call, collected a batch at a time; Ctrl-C keeps those that are finished."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ..errors import Interrupted
from ..models import Inputs, Model
from ..results import Array, Attribution


class Maps:
    """What an attribution method has found so far, and what its result will say of itself."""

    def __init__(
        self,
        method: str,
        parameters: Mapping[str, Any],
        model: Model,
        inputs: Inputs,
        *,
        unit: str,
        signed: bool = True,
    ) -> None:
        self._started = time.perf_counter()
        self._method, self._model, self._inputs = method, model, inputs
        self.parameters = dict(parameters)
        self._unit, self._signed = unit, signed
        self.measured: dict[str, Any] = {}
        self.notes: list[str] = []
        self.layers: dict[str, list[Array]] = {}  # name -> maps (h, w) in the order of the values
        self._batches: list[tuple[Array, Array, Array, Sequence[str], Sequence[str]]] = []

    def add(
        self,
        values: torch.Tensor,
        scores: torch.Tensor,
        images: Array,
        names: Sequence[str],
        targets: Sequence[str],
    ) -> None:
        """Take in n images: values (n, H, W), scores (n,), images (n, H, W, 3) as the network saw them."""
        self._batches.append((_array(values), _array(scores), images, names, targets))

    @contextmanager
    def kept_on_interrupt(self) -> Iterator[None]:
        """Around the work: on Ctrl-C, `Interrupted` carries the images that are finished."""
        try:
            yield
        except KeyboardInterrupt:
            n = sum(len(batch[0]) for batch in self._batches)
            if not n:
                raise
            raise Interrupted(self.result(f"interrupted after {n} of {len(self._inputs)} images")) from None

    def result(self, *notes: str) -> Attribution:
        """What was found; ``measured`` and ``notes`` are the method's own remarks so far."""
        values, scores, images, names, targets = zip(*self._batches, strict=True)
        every = np.concatenate(values)
        return Attribution(
            values=every,
            layers={name: np.stack(maps[: len(every)]) for name, maps in self.layers.items()},
            targets=tuple(name for batch in targets for name in batch),
            scores=np.concatenate(scores),
            images=np.concatenate(images),
            names=tuple(name for batch in names for name in batch),
            unit=self._unit,
            signed=self._signed,
            provenance=self._model.provenance(
                self._method,
                self.parameters,
                self._started,
                measured=self.measured,
                notes=(
                    *self._inputs.notes,
                    *self.notes,
                    *self._told_by(every, np.concatenate(images)),
                    *notes,
                ),
                skipped=self._inputs.skipped,
            ),
        )

    def _told_by(self, values: Array, images: Array) -> list[str]:
        """What maps (N, H, W) that say nothing have to say: zero everywhere, or the same for different images."""
        notes: list[str] = []
        n_zero = int((~values.reshape(len(values), -1).any(axis=1)).sum())
        if n_zero:
            hint = (
                "; kind='signed' keeps what speaks against it" if self.parameters.get("kind") == "positive" else ""
            )
            notes.append(
                f"{n_zero} of {len(values)} maps are zero everywhere: nothing was found for the target{hint}"
            )
        seen: dict[bytes, set[bytes]] = {}
        for value, image in zip(values, images, strict=True):
            if value.any():
                seen.setdefault(_digest(value), set()).add(_digest(image))
        n_same = sum(len(of) for of in seen.values() if len(of) > 1)
        if n_same:
            notes.append(
                f"{n_same} different images have the same map, which then says nothing of them: what it is made "
                "of does not depend on the image, as the gradient of a linear network does not"
            )
        return notes


def _digest(array: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()


def _array(tensor: torch.Tensor) -> Array:
    return tensor.detach().float().cpu().numpy()
