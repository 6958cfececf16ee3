"""Keep and restore random generators: a network's own, and the global ones of PyTorch, NumPy and Python."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
import torch

Restore: TypeAlias = Callable[[], object]


def kept_generator(value: object) -> Restore | None:
    """A function that resets a random generator to its current state; None for any other object."""
    if type(value) is torch.Generator:
        return partial(value.set_state, value.get_state())
    if type(value) is np.random.Generator:
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    if type(value) is np.random.RandomState:
        return partial(value.set_state, value.get_state())
    if type(value) is random.Random:
        return partial(value.setstate, value.getstate())
    return None


class RandomState:
    """The state of the global random generators: of PyTorch on a device, of NumPy and of Python."""

    def __init__(self, device: torch.device) -> None:
        self._torch = torch.get_rng_state()
        self._numpy, self._python = np.random.get_state(), random.getstate()  # noqa: NPY002
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        self._device = device

    def is_as_now(self) -> bool:
        """Whether no number has been drawn since."""
        numpy, before = np.random.get_state(), self._numpy  # noqa: NPY002
        same_numpy = all(np.array_equal(a, b) for a, b in zip(numpy, before, strict=True))
        same_cuda = self._cuda is None or torch.equal(self._cuda, torch.cuda.get_rng_state(self._device))
        return (
            torch.equal(self._torch, torch.get_rng_state())
            and same_numpy
            and same_cuda
            and self._python == random.getstate()
        )

    def restore(self) -> None:
        torch.set_rng_state(self._torch)
        np.random.set_state(self._numpy)  # noqa: NPY002
        random.setstate(self._python)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)
