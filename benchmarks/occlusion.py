"""Occlusion against Captum's, 16-px windows at stride 8: the same windows, the same convention, the same result.

    python benchmarks/occlusion.py        # a round of all networks takes a quarter of an hour
    python benchmarks/occlusion.py --models resnet18 --rounds 3

All runs of a network are made in turn, in one process, with two threads, on random weights (the batch norms'
statistics measured, so that the outputs are lively). Captum runs at its default, one forward pass a window, and at
the `perturbations_per_eval` that is fastest here. "Bound" is the ratio of multiplications if every window were run
by itself on exactly what it changed.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import captum.attr
import numpy as np
import timm
import torch
from torch import nn
from torchvision import models

from convscope import occlusion
from convscope.incremental import plan_of
from convscope.perturbation.masks import windows
from interleaved import interleaved

# network -> how many times as fast as Captum at its default and at its best; share of the bound over our own dense
TARGETS = {
    "vgg16": (8.5, 7.0, 0.75),
    "googlenet": (4.0, 3.2, 0.6),
    "inception_v3": (3.2, 2.5, 0.6),
    "resnet18": (3.2, 2.5, 0.6),
    "resnet50": (3.2, 2.5, 0.6),
    "densenet121": (2.4, 2.0, 0.6),
    "timm:regnetx_006": (4.5, 2.0, 0.6),
    "resnext50_32x4d": (3.0, 2.4, 0.6),
    "mobilenet_v2": (4.5, 3.0, 0.6),
    "timm:tf_efficientnet_lite0": (3.2, 2.4, 0.6),
}
KRYPTON = {"vgg16": 5.4, "resnet18": 2.1, "inception_v3": 1.5}  # published, at 16/4, over batched re-inference
WINDOW, STRIDE = 16, 8


def built(name: str, *, lively: bool = True) -> tuple[nn.Module, torch.Tensor]:
    """A network in evaluation mode and an image for it; lively: the statistics of its batch norms measured."""
    torch.manual_seed(0)
    if name.startswith("timm:"):
        module = timm.create_model(name.removeprefix("timm:"))
    else:
        extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        module = models.get_model(name, weights=None, **extra)
    size = 299 if name == "inception_v3" else 224
    norms = [m for m in module.eval().modules() if isinstance(m, nn.BatchNorm2d)] if lively else []
    for norm in norms:
        norm.momentum = None
        norm.train()
    if norms:
        with torch.no_grad():
            module(torch.randn(4, 3, size, size))
    return module.eval(), torch.randn(1, 3, size, size)


def best_batch(module: nn.Module, x: torch.Tensor) -> int:
    """The number of variants at once with which Captum is fastest."""
    seconds = {}
    with torch.no_grad():
        for size in (4, 8, 16, 32):
            batch = x.repeat(size, 1, 1, 1)
            module(batch)
            started = time.perf_counter()
            module(batch)
            seconds[size] = (time.perf_counter() - started) / size
    return min(seconds, key=lambda size: seconds[size])


def bound(module: nn.Module, x: torch.Tensor, window: int, stride: int) -> float:
    """Multiplications of whole runs over those of every window by itself."""
    grid = windows((x.shape[2], x.shape[3]), (window, window), (stride, stride))
    return plan_of(module, x[0]).changes(grid.rectangles, whole_from=1.01).ratio(1)


def compare(name: str, rounds: int) -> None:
    """One row of the table."""
    module, x = built(name)
    peer, at_once = captum.attr.Occlusion(module), best_batch(module, x)
    found: dict[str, np.ndarray] = {}

    def captums(key: str, size: int) -> None:
        values = peer.attribute(
            x, (3, WINDOW, WINDOW), strides=(3, STRIDE, STRIDE), target=0, baselines=0, perturbations_per_eval=size
        )
        found[key] = values[0, 0].detach().numpy()

    def ours(engine: str) -> None:
        found[engine] = occlusion(module, x, target=0, window=WINDOW, stride=STRIDE, engine=engine).values[0]

    plan_of(module, x[0])
    runs = {
        "incremental": lambda: ours("incremental"),
        "default": lambda: captums("default", 1),
        "dense": lambda: ours("dense"),
        "best": lambda: captums("best", at_once),
    }
    times = interleaved(runs, rounds, warm_up=False)
    n = len(range(0, x.shape[2] - WINDOW + STRIDE, STRIDE)) ** 2
    ms = {key: 1e3 * median(values) / n for key, values in times.items()}
    over = {
        key: median(b / a for a, b in zip(times["incremental"], values, strict=True))
        for key, values in times.items()
    }
    with torch.no_grad():
        span = np.ptp(module(x).numpy())
    difference = max(np.abs(found["incremental"] - found[key]).max() for key in ("default", "dense")) / span
    limit, targets = bound(module, x, WINDOW, STRIDE), TARGETS.get(name, (0.0, 0.0, 0.0))
    cells = [
        f"{name:27}",
        f"{ms['default']:6.1f} {ms['best']:6.1f} ({at_once:2}) {ms['dense']:6.1f} {ms['incremental']:6.2f}",
        f"{over['default']:5.1f} ({targets[0]:3.1f})",
        f"{over['best']:5.1f} ({targets[1]:3.1f})",
        f"{over['dense']:5.2f} of {limit:4.2f} = {over['dense'] / limit:4.2f} ({targets[2]:4.2f})",
        f"{difference:.0e}",
    ]
    print(" | ".join(cells), flush=True)
    if name in KRYPTON:
        started = time.perf_counter()
        occlusion(module, x, target=0, window=16, stride=4, engine="incremental")
        each = 1e3 * (time.perf_counter() - started) / len(range(0, x.shape[2] - 16 + 4, 4)) ** 2
        print(f"  at 16/4 {each:.2f} ms a window, {ms['best'] / each:.1f} over batched; Krypton {KRYPTON[name]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--models", nargs="+", default=list(TARGETS))
    options = parser.parse_args()
    torch.set_num_threads(2)
    print(f"{options.rounds} rounds, {torch.get_num_threads()} threads; milliseconds a window, ratios (at least)")
    heads = [f"{'':27}", f"{'default':>6} {'best':>5}      dense   ours", "over default", "over best"]
    print(" | ".join([*heads, "over dense, of the bound", "difference, of the range of the output"]))
    for name in options.models:
        compare(name, options.rounds)


if __name__ == "__main__":
    main()
