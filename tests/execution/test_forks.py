"""A forked process has none of the threads of its parent: it runs a network or says why not, and never hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = [pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here"), pytest.mark.slow]

_SETTING = """
    import os, sys, threading, time
    import numpy as np
    import torch
    from torch import nn
    from convscope import Model, ModelError, occlusion

    torch.set_num_threads(2)
    net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3))
    images = torch.rand(2, 3, 128, 128)  # so large that PyTorch has its threads work on them
    model = Model(net)
    whole = model.predict(images).scores

    def in_child(check):
        sys.stdout.flush()
        if not (child := os.fork()):
            code = 1
            try:
                check()
                code = 0
            finally:
                sys.stdout.flush()
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def printed(program: str) -> str:
    """What it prints; two minutes are for slow machines, and a process that hangs ends with it."""
    code = textwrap.dedent(_SETTING) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_forked_process_runs_a_network_that_its_parent_has_run() -> None:
    said = printed("""
        def check():
            assert np.allclose(model.predict(images).scores, whole, atol=1e-5)
            print(torch.get_num_threads())
        print(in_child(check), torch.get_num_threads())
    """)
    assert said.split() == ["1", "0", "2"]


def test_a_fork_in_the_middle_of_ones_own_call_runs_on() -> None:
    said = printed("""
        def check():
            assert np.allclose(model.predict(images).scores, whole, atol=1e-5)
        codes = []
        model.predict(images, progress=lambda *_: codes.append(in_child(check)))
        print(codes)
    """)
    assert said.split() == ["[0]"]


def test_a_network_that_another_thread_was_running_is_refused() -> None:
    said = printed("""
        running, forked = threading.Event(), threading.Event()
        def progress(done, total):
            running.set()
            forked.wait(100)
        thread = threading.Thread(target=lambda: model.predict(images, progress=progress))
        thread.start()
        running.wait(100)
        other = Model(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 126 * 126, 2)))
        def check():
            try:
                model.predict(images)
            except ModelError as error:
                print(error)
            print(other.predict(images).scores.shape)
        print(in_child(check))
        forked.set()
        thread.join()
        print(model.predict(images).scores.shape)
    """)
    assert "another thread was running Sequential when this process was forked" in said
    assert said.splitlines()[1:] == ["(2, 2)", "0", "(2, 3)"]
