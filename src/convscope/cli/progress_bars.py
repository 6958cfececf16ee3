"""The progress of long work: bars on a terminal, lines of a log elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
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
    with Progress(*columns, console=err, transient=True, disable=_has_no_bars()) as bar, _logged() as log:
        task = bar.add_task(what, total=None, unit=unit)
        log(what)

        def step(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield step


@contextmanager
def staged_progress() -> Iterator[Callable[[str, int, int], None]]:
    """The same for work in named stages: a bar, or a line of a log, for each stage."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=_has_no_bars()) as bar, _logged() as log:
        tasks: dict[str, Any] = {}

        def step(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
                log(stage)
            bar.update(tasks[stage], completed=done, total=total)

        yield step


def _has_no_bars() -> bool:
    return Quiet.is_on or not err.is_terminal


@contextmanager
def _logged() -> Iterator[Callable[[str], None]]:
    """Gives what writes a line, with the time, when a stage begins; the end of the last one says how long it took.

    Only where standard error is no terminal, as of cron or a container, whose logs would keep a bar's every step.
    """
    began: list[tuple[str, float]] = []

    def log(stage: str) -> None:
        end()
        if not (err.is_terminal or Quiet.is_on):
            began.append((stage, time.perf_counter()))
            _log_line(f"{stage} ...")

    def end() -> None:
        if began:
            stage, started = began.pop()
            _log_line(f"{stage} done in {time.perf_counter() - started:.1f} s")

    yield log
    end()


def _log_line(line: str) -> None:
    err.print(f"{datetime.now():%Y-%m-%d %H:%M:%S} {escape(line)}", highlight=False, soft_wrap=True)
