"""The lines of a log, by a clock that the test moves: where there is no terminal, and nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from convscope import EmbeddingStore
from convscope.cli import progress_bars
from convscope.cli.app import app
from convscope.cli.console import Quiet
from convscope.cli.progress_bars import progress_bar, stage, staged_progress

pytestmark = pytest.mark.same_everywhere

STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", re.MULTILINE)


class Clock:
    """Seconds since some moment."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress_bars, "perf_counter", made)
    monkeypatch.setattr(progress_bars, "err", Console(stderr=True, force_terminal=False))
    monkeypatch.setattr(Quiet, "is_on", False)
    return made


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """What was logged since the last call, without the date; each line must have one."""

    def lines() -> list[str]:
        text = capsys.readouterr().err
        assert len(STAMP.findall(text)) == len(text.splitlines())
        return STAMP.sub("", text).splitlines()

    return lines


def test_a_stage_says_each_half_minute_how_far_it_is(clock: Clock, logged: Any) -> None:
    with progress_bar("embed") as step:
        assert logged() == ["embed ..."]
        for done in range(0, 1001, 10):  # ten images in a second
            step(done, 1000)
            clock.now += 1
    assert logged() == [
        "embed: 300 of 1000 images, 0:01:10 left",
        "embed: 600 of 1000 images, 0:00:40 left",
        "embed: 900 of 1000 images, 0:00:10 left",
        "embed done in 101.0 s",
    ]


def test_images_that_a_store_holds_already_do_not_count_for_the_time_left(clock: Clock, logged: Any) -> None:
    with progress_bar("embed") as step:
        step(9000, 10_000)  # at once
        clock.now += 40
        step(9100, 10_000)
    assert logged()[1] == "embed: 9100 of 10000 images, 0:06:00 left"


def test_a_slow_first_step_states_no_speed(clock: Clock, logged: Any) -> None:
    with progress_bar("scan") as step:
        clock.now += 100
        step(8, 80)
        clock.now += 10
        step(8, 80)
    assert logged() == ["scan ...", "scan: 8 of 80 images", "scan done in 110.0 s"]


def test_each_stage_is_timed_for_itself(clock: Clock, logged: Any) -> None:
    with staged_progress() as step:
        for name in ("saliency", "rise"):
            step(name, 0, 4)
            clock.now += 31
            step(name, 1, 4)
        with stage("load the network"):
            clock.now += 2
    assert logged() == [
        "saliency ...",
        "saliency: 1 of 4, 0:01:33 left",
        "saliency done in 31.0 s",
        "rise ...",
        "rise: 1 of 4, 0:01:33 left",
        "load the network ...",
        "load the network done in 2.0 s",
        "rise done in 33.0 s",
    ]


def test_a_stage_that_fails_is_not_called_done(clock: Clock, logged: Any) -> None:
    with pytest.raises(KeyboardInterrupt), progress_bar("embed"):
        raise KeyboardInterrupt
    assert logged() == ["embed ..."]


@pytest.mark.parametrize("why", ["quiet", "terminal"])
def test_quiet_runs_and_terminals_have_no_log(
    why: str, clock: Clock, logged: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Quiet, "is_on", why == "quiet")
    if why == "terminal":
        monkeypatch.setattr(progress_bars, "err", Console(stderr=True, force_terminal=True, width=80))
    with progress_bar("embed") as step:
        clock.now += 40
        step(1, 2)
        clock.now += 40
        step(2, 2)
    text = capsys.readouterr().err
    assert not STAMP.search(text)
    assert (text == "") == (why == "quiet")


def test_a_log_is_no_part_of_the_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    EmbeddingStore.of_vectors("s.lance", np.random.default_rng(0).normal(size=(30, 4)), labels=["a", "b"] * 15)
    for command in ("suspects", "duplicates", "project", "cluster", "evaluate-retrieval"):
        done = CliRunner().invoke(app, [command, "s.lance", "--json"], catch_exceptions=False)
        assert json.loads(done.stdout)
        assert f"{command} ..." in done.stderr
        assert f"{command} done in" in done.stderr
