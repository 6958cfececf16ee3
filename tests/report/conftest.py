"""Fixtures of the pages' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.report.chromium import Chromium, started
from tests.report.made import EVIL, write_photo
from torch import nn

from convscope.models import Model
from convscope.report import report


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    one = started(tmp_path)
    yield one
    one.close()


@pytest.fixture(scope="session")
def model() -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
        )  # fmt: skip
    labels = ["<b>bold</b>", "dog & cat", "c"]
    return Model(net, input_size=(32, 32), mean=[0.5] * 3, std=[0.25] * 3, labels=labels, name="<i>net</i>")


@pytest.fixture(scope="session")
def made(model: Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[tuple[str, int, int]]]:
    """A report with all its sections, over names that want to be tags."""
    folder = tmp_path_factory.mktemp("report")
    write_photo(folder / "photos" / EVIL, 0)
    write_photo(folder / "photos" / "plain.png", 1)
    (folder / "photos" / "<img src=x>.jpg").write_text("no image")
    for i in range(6):
        write_photo(folder / "all" / ("<u>" if i % 2 else "even") / f"{i}.png", i)
    calls: list[tuple[str, int, int]] = []
    output = report(
        model,
        folder / "photos",
        output=folder / "new" / "deep" / "report.html",
        collection=folder / "all",
        progress=lambda *call: calls.append(call),
    )
    return output, output.read_text(encoding="utf-8"), calls
