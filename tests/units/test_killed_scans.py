"""A scan that is killed again and again, and its memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convscope import UnitScan, scan
from convscope.partial_files import partial_beside

# Imports once, and then scans in a fork for each moment at which to be killed.
PARENT = """
import os, signal, sys
import torch
from torch import nn
from convscope import scan
from convscope.units import scan_state

scan_state.WRITE_IMAGES = 64  # a part for each turn
place, *moments = sys.argv[1:]
replace = os.replace

def killed_scan(nth, when):
    n = 0

    def replace_and_die(*args):
        nonlocal n
        n += 1
        if n == nth and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*args)
        if n == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace_and_die
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU())
    x = torch.randn(300, 1, 8, 8)
    scan(net, x, layers=["1", "3"], labels=["a", "b", None] * 100, output=place)

for moment in moments:
    nth, when = moment.split()
    pid = os.fork()
    if pid == 0:
        killed_scan(int(nth), when)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (moment, status)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_scan_that_was_killed_ten_times_is_equal_to_one_that_was_not(tmp_path: Path) -> None:
    """It is killed before and after files take their places: the parts, the sums, and the finished result."""
    place = tmp_path / "scan"
    moments = ["1 after", "1 before", "1 after", "2 before", "2 after", "3 after", "6 before"]
    moments += ["1 before", "1 after", "2 after"]
    command = [sys.executable, "-c", PARENT, str(place), *moments]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU())
    x = torch.randn(300, 1, 8, 8)
    options = {"layers": ["1", "3"], "labels": ["a", "b", None] * 100}
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the forks
    try:
        scan(net, x, output=place, **options)
        found, expected = UnitScan.load(place), scan(net, x, **options)
    finally:
        torch.set_num_threads(n_threads)
    assert found.names == expected.names
    for name, tables in vars(expected).items():
        if isinstance(tables, dict):
            for layer, values in tables.items():
                np.testing.assert_array_equal(getattr(found, name)[layer], values, err_msg=f"{name} {layer}")
    with partial_beside(place / "parts" / "next", is_folder=True):  # removes what the killed ones left
        assert len(list((place / "parts").glob(".convscope-*"))) == 1


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images() -> None:
    """What NumPy and Python hold at most, for twice as many images: less than their peaks would take."""
    net = nn.Sequential(nn.Conv2d(1, 512, 1), nn.ReLU())

    def most(n: int) -> int:
        x = torch.randn(1, 1, 2, 2).expand(n, 1, 2, 2)
        tracemalloc.start()
        scan(net, x, layers="1", k=4)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    most(64)  # what is imported and cached
    assert most(4000) - most(2000) < 2000 * 512 * 4 / 2
