"""What occlusion costs: seconds against the number and the size of windows, and the peak memory of both engines.

    python benchmarks/occlusion_cost.py --models resnet50
    python benchmarks/occlusion_cost.py --models resnet50 vgg16 --memory

Seconds should go with the number of windows. Peak memory is that of a process of its own for each engine.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch

from convscope import occlusion
from occlusion import bound, built

SIZES = [(16, 16), (16, 8), (16, 4), (8, 8), (32, 8), (48, 8), (64, 8), (96, 8)]  # window, stride


def against_windows(name: str) -> None:
    module, x = built(name)
    occlusion(module, x, target=0, window=16, stride=16, engine="incremental")
    print(f"{name}\nwindow stride windows  seconds  ms a window  bound")
    for window, stride in SIZES:
        started = time.perf_counter()
        occlusion(module, x, target=0, window=window, stride=stride, engine="incremental")
        seconds = time.perf_counter() - started
        n = len(range(0, x.shape[2] - window + stride, stride)) ** 2
        row = f"{window:6} {stride:6} {n:7} {seconds:8.2f} {1e3 * seconds / n:12.2f}"
        print(row, f"{bound(module, x, window, stride):6.2f}", flush=True)


def memory(names: list[str]) -> None:
    print(f"{'peak memory, MB':27} dense  incremental")
    for name in names:
        peaks = []
        for engine in ("dense", "incremental"):
            command = [sys.executable, __file__, "--peak", engine, "--models", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks.append(int(done.stdout.split()[-1]))
        print(f"{name:27} {peaks[0]:5} {peaks[1]:12}", flush=True)


def peak(name: str, engine: str) -> None:
    module, x = built(name, lively=False)
    occlusion(module, x, target=0, window=16, stride=16, engine=engine)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["resnet50"])
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak", choices=["dense", "incremental"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.peak:
        peak(options.models[0], options.peak)
    elif options.memory:
        memory(options.models)
    else:
        for name in options.models:
            against_windows(name)


if __name__ == "__main__":
    main()
