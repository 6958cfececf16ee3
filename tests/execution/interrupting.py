"""Ctrl-C at a chosen moment of a call, and what it leaves behind.

As a script it tries many moments of many methods and counts: ``python -m tests.execution.interrupting 1000``.
"""

from __future__ import annotations

import _thread
import gc
import random
import signal
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn

import convscope
from convscope import ConvscopeError, Model


class Interruption:
    """Counts the opcodes that a call runs in code of ours and of what enters and leaves contexts.

    At the n-th of them it does what Ctrl-C does: a signal is there, and Python sees it when it looks next.
    """

    WATCHED = ("/convscope/", "contextlib.py", "/torch/overrides.py", "/torch/utils/hooks.py", "grad_mode.py")

    def __init__(self, at: int | None = None) -> None:
        self.at, self.n = at, 0
        # Looked up in C: a call from here would have Python look for signals here, and not in the code that runs.
        self._trip: dict[str, Any] = defaultdict(_thread.interrupt_main)

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        if not any(part in frame.f_code.co_filename for part in self.WATCHED):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, frame: FrameType, event: str, arg: object) -> Any:
        self.n += 1
        if self.n != self.at:
            return self._step
        sys.settrace(None)
        self._trip["now"]
        return None

    def __enter__(self) -> Interruption:
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)


def tiny() -> nn.Module:
    """In training, its parts in different modes; one parameter frozen; a hook of the user's."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    net.train()
    net[1].eval()
    net[3].bias.requires_grad_(False)
    net[0].register_forward_hook(lambda *_: None)
    return net


IMAGES = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
CALLS: dict[str, Callable[[Model], object]] = {
    "predict": lambda m: m.predict(IMAGES),
    "saliency": lambda m: convscope.saliency(m, IMAGES, target=0),
    "guided_backprop": lambda m: convscope.guided_backprop(m, IMAGES, target=0),
    "grad_cam": lambda m: convscope.grad_cam(m, IMAGES, target=0),
    "lrp": lambda m: convscope.lrp(m, IMAGES, target=0),
    "occlusion": lambda m: convscope.occlusion(m, IMAGES, target=0, window=(6, 6), stride=(6, 6)),
    "embed": lambda m: convscope.embed(m, IMAGES),
    "feature_maps": lambda m: convscope.feature_maps(m, IMAGES),
    "visualize": lambda m: convscope.visualize(m, target=0, n_steps=3, size_px=12),
    "sanity_check": lambda m: convscope.sanity_check(m, IMAGES[:1], "saliency", target=0, n_stages=1),
}


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def state_of(net: nn.Module) -> dict[str, object]:
    """Whatever a call could leave changed."""
    from torch.utils import checkpoint

    return {
        "mode": [m.training for m in net.modules()],
        "gradients": [p.requires_grad for p in net.parameters()],
        "weights": [t.detach().numpy().tobytes() for t in (*net.parameters(), *net.buffers())],
        "hooks": [len(getattr(m, name)) for m in net.modules() for name in _HOOKS],
        "function modes": torch._C._len_torch_function_stack(),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()),
        "default dtype": torch.get_default_dtype(),
        "torch random": torch.get_rng_state().numpy().tobytes(),
        "numpy random": np.random.get_state()[1].tobytes(),  # noqa: NPY002 -- it is what must not change
        "python random": random.getstate(),
        "signal handler": signal.getsignal(signal.SIGINT),
        "checkpointing": [
            value for name, value in vars(checkpoint).items() if name.startswith(("Chec", "_checkp"))
        ],
    }


def length_of(call: Callable[[Model], object], model: Model) -> int:
    """How many moments there are in this call."""
    with Interruption() as counted:
        call(model)
    return counted.n


def left_behind(call: Callable[[Model], object], model: Model, at: int) -> list[str]:
    """What of a network and of the process is not as it was after Ctrl-C at this moment of a call.

    Looked at while the exception is there, with all that its traceback holds, and once more when it has gone.
    """
    before = state_of(model.module)

    def changed() -> list[str]:
        now = state_of(model.module)
        return [name for name in before if now[name] != before[name]]

    found: list[str] = []
    unraisable, sys.unraisablehook = (
        sys.unraisablehook,
        lambda said: found.append(f"unraisable {said.exc_value!r}"),
    )
    try:
        with Interruption(at):
            call(model)
        found.append("not reached")
    except KeyboardInterrupt:
        found += changed()
    except ConvscopeError as error:  # `Interrupted`, with what was finished
        found += [] if isinstance(error, convscope.Interrupted) else [f"{type(error).__name__}: {error}"]
        found += changed()
    except Exception as error:
        found += [f"{type(error).__name__}: {error}", *changed()]
    gc.collect(0)
    found += [f"{name}, later" for name in changed()]
    sys.unraisablehook = unraisable
    return found


def main(n_each: int, seed: int = 0) -> None:
    torch.set_num_threads(1)
    chance, total = random.Random(seed), Counter[str]()
    for name, call in CALLS.items():
        found = Counter[str]()
        for warm in (False, True):  # a network that is met the first time is run on noise first
            model = Model(tiny(), device="cpu")
            if warm:
                call(model)
            length = length_of(call, model)
            for _ in range(n_each // 2):
                model = Model(tiny(), device="cpu")
                if warm:
                    call(model)
                at = chance.randint(1, length)
                random.seed(0)
                found.update(left_behind(call, model, at) or ["fine"])
        print(name, length, dict(found), threading.active_count(), flush=True)
        total.update(found)
    print("all", dict(total))


if __name__ == "__main__":
    main(int(sys.argv[1]))
