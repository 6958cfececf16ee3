"""Timing that holds on a noisy machine: everything in one process, in turn, compared round by round."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

Runs = dict[str, Callable[[], object]]


def interleaved(
    runs: Runs, rounds: int, *, warm_up: bool = True, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every run in every round, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for counted in [False] * warm_up + [True] * rounds:
        for name, run in runs.items():
            started = clock()
            run()
            if counted:
                times[name].append(clock() - started)
    return times


def ratio(times: dict[str, list[float]], ours: str, peer: str) -> float:
    """Median over the rounds of ours / peer."""
    return median(a / b for a, b in zip(times[ours], times[peer], strict=True))


def row(what: str, times: dict[str, list[float]], ours: str, peer: str, target: float) -> str:
    """One line of a table: medians in milliseconds, their ratio, and what it should be at most."""
    a, b = median(times[ours]) * 1e3, median(times[peer]) * 1e3
    return f"{what:42} {a:10.1f} {b:10.1f} {ratio(times, ours, peer):8.2f} {target:8.2f}"


HEADER = f"{'':42} {'ours, ms':>10} {'peer, ms':>10} {'ratio':>8} {'at most':>8}"
