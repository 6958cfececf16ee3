"""A process that was forked while other threads opened images opens its own, and waits for none of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

PROGRAM = """
import os, signal, sys, threading, warnings
from convscope import load_images
from convscope.images import formats, memory_limit, pillow_warnings

inside, may_end = threading.Event(), threading.Event()

def hold():
    with formats._lock, pillow_warnings._lock, memory_limit.one_image():
        memory_limit.reserve(memory_limit.limit(), "x")
        inside.set()
        may_end.wait()

thread = threading.Thread(target=hold)
thread.start()
inside.wait()
if not (child := os.fork()):
    signal.alarm(60)  # what waits in vain ends with this
    warnings.filters.clear()  # so that those of `quiet` are put back, under its lock
    code = 1
    try:
        code = int(load_images(sys.argv[1])[0].shape != (4, 6, 3))
    finally:
        os._exit(code)
may_end.set()
thread.join()
sys.exit(abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_process_waits_for_no_thread_that_it_lacks(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "x.png")
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path / "x.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
