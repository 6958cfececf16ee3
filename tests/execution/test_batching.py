"""Batches fit in memory, and a batch gives what its images give one by one."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from convscope import Model
from convscope.execution import batching, in_batches


def test_all_are_run_once_and_in_order() -> None:
    runs: list[tuple[int, int]] = []
    assert list(in_batches(7, 3, lambda a, b: runs.append((a, b)))) == [3, 6, 7]
    assert runs == [(0, 3), (3, 6), (6, 7)]
    assert list(in_batches(0, 3, lambda a, b: runs.append((a, b)))) == []


def test_a_batch_that_does_not_fit_is_halved_and_run_again() -> None:
    runs: list[tuple[int, int]] = []

    def run(first: int, end: int) -> None:
        if end - first > 2:
            raise torch.OutOfMemoryError
        runs.append((first, end))

    list(in_batches(7, 7, run))
    assert [i for a, b in runs for i in range(a, b)] == list(range(7))
    assert max(b - a for a, b in runs) <= 2


def test_a_single_image_that_does_not_fit_is_an_error() -> None:
    def run(first: int, end: int) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        list(in_batches(3, 2, run))


def test_less_memory_makes_smaller_batches_and_never_none(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    sizes = []
    for free in (0, 10**6, 10**7, 10**8, 10**12):
        monkeypatch.setattr(batching, "free_memory", lambda _, free=free: free)
        sizes.append(tuple(batching.fitting_batch(10**6, cpu, backward=b) for b in (False, True)))
    assert sizes == [(1, 1), (1, 1), (2, 1), (4, 3), (4, 4)]


def test_there_is_some_memory() -> None:
    assert batching.free_memory(torch.device("cpu")) > 1 << 20


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_batch_gives_what_its_images_give_one_by_one(
    tiny: Model, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    x = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(Model, "fitting_batch", lambda *_, **__: size)
    with torch.no_grad():
        expected = torch.cat([tiny.module(row[None]) for row in x])
    assert_close(torch.from_numpy(tiny.predict(x).scores), expected, atol=1e-6, rtol=1e-5)
