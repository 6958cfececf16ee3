"""The progress of long work: bars on a terminal, lines of a log elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from .console import Quiet, err, escape

_EVERY_S = 30.0  # between two lines of a log on the same stage


class _Rate(ProgressColumn):
    """Units a second, once there is something to divide."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "")
        return Text(f"{speed:.0f} {unit}/s".replace(" /", "/") if speed else "", style="progress.data.speed")


@contextmanager
def progress_bar(what: str, unit: str = "images") -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error with a count, a rate and the time left; lines of a log where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=_has_no_bars()) as bar, _logged(unit) as log:
        task = bar.add_task(what, total=None, unit=unit)
        log.begin(what)

        def step(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            log.step(done, total)

        yield step


@contextmanager
def staged_progress() -> Iterator[Callable[[str, int, int], None]]:
    """The same for work in named stages: a bar, or lines of a log, for each stage."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=_has_no_bars()) as bar, _logged() as log:
        tasks: dict[str, Any] = {}

        def step(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
                log.begin(stage)
            bar.update(tasks[stage], completed=done, total=total)
            log.step(done, total)

        yield step


@contextmanager
def stage(what: str) -> Iterator[None]:
    """Work that cannot say how far it is: nothing on a terminal, two lines of a log elsewhere."""
    with _logged() as log:
        log.begin(what)
        yield


def _has_no_bars() -> bool:
    return Quiet.is_on or not err.is_terminal


class _Log:
    """The lines of one stage after the other: when it begins, each half minute how far it is, and when it is done.

    Only where standard error is no terminal, as of cron or a container, whose logs would keep a bar's every step.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._stage: str | None = None  # that is logged
        self._began = self._told = 0.0
        self._first: tuple[float, int] | None = None  # when the stage first said how far it is, and how far

    def begin(self, stage: str) -> None:
        self.end()
        if not (err.is_terminal or Quiet.is_on):
            self._stage, self._first = stage, None
            self._began = self._told = perf_counter()
            _log_line(f"{stage} ...")

    def step(self, done: int, total: int) -> None:
        if self._stage is None:
            return
        now = perf_counter()
        if self._first is None:  # a store may hold most images already, so that this is no measure of the speed
            self._first = now, done
        if done < total and now - self._told >= _EVERY_S:
            self._told = now
            count = f"{done} of {total} {self._unit}".rstrip()
            _log_line(f"{self._stage}: {count}{_left(self._first, (now, done), total)}")

    def end(self) -> None:
        if self._stage is not None:
            _log_line(f"{self._stage} done in {perf_counter() - self._began:.1f} s")
            self._stage = None


def _left(first: tuple[float, int], last: tuple[float, int], total: int) -> str:
    """The time left at the speed between two moments, each with the number that was done by then."""
    seconds, n = last[0] - first[0], last[1] - first[1]
    if n <= 0:
        return ""
    return f", {timedelta(seconds=round(seconds * (total - last[1]) / n))} left"


@contextmanager
def _logged(unit: str = "") -> Iterator[_Log]:
    """A log; an error or Ctrl-C leaves its last stage without an end."""
    log = _Log(unit)
    yield log
    log.end()


def _log_line(line: str) -> None:
    err.print(f"{datetime.now():%Y-%m-%d %H:%M:%S} {escape(line)}", highlight=False, soft_wrap=True)
