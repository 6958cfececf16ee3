"""Fixtures of the pages' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.report.chromium import Chromium, started


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    one = started(tmp_path)
    yield one
    one.close()
