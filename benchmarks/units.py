"""What a scan of units costs beyond the forward pass that it needs.

    python benchmarks/units.py
    python benchmarks/units.py --n 2000

Both are measured in turn, in one process, on the same JPEG files with two threads: `scan` of three layers, and a
plain forward pass of the same images, read and preprocessed in the same way, as far as the deepest of the layers.
The scan folds batch norms, which the plain pass does not. The table shows medians; the target is at most 1.2. With
few images, what a scan does once for each channel still shows. "Reduction alone" is what reading the maps adds to
the plain pass; "reading the images" is the share of it that goes by before the network starts.

On a busy machine, compare processor time in one thread:

    OMP_NUM_THREADS=1 python benchmarks/units.py --clock processor --threads 1
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from convscope import scan
from convscope.execution import evaluating, read_at, run_to
from convscope.models import Model, load_model
from convscope.units.channel_readings import read_layer
from embedding import write_jpegs
from interleaved import HEADER, Runs, interleaved, ratio, row

LAYERS = {
    "efficientnet-lite0": ["blocks.2.0.bn1", "blocks.4.2", "bn2"],
    "torchvision:resnet50": ["layer2", "layer3", "layer4"],
}
TARGET = 1.2


def forward(model: Model, folder: Path, layers: list[str]) -> None:
    with evaluating(model.module):
        for batch in model.batches(model.inputs(folder)):
            run_to(model.module, batch.x, layers[-1:])


def with_reductions(model: Model, folder: Path, names: list[str]) -> None:
    layers = {name: model.structure().find(name) for name in names}
    with evaluating(model.module):
        for batch in model.batches(model.inputs(folder)):
            read_at(model.module, batch.x, names, lambda name, x, _: read_layer(x, layers[name]))


def reading(model: Model, folder: Path) -> None:
    for _ in model.batches(model.inputs(folder)):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200, help="images")
    parser.add_argument("--repeats", type=int, default=3, help="rounds, of which the median counts")
    parser.add_argument("--model", default="efficientnet-lite0", choices=sorted(LAYERS))
    parser.add_argument("--clock", default="wall", choices=["wall", "processor"])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    layers = LAYERS[options.model]
    model = load_model(options.model, device="cpu", pretrained=options.model == "efficientnet-lite0")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        write_jpegs(folder, options.n)
        runs: Runs = {
            "scan": lambda: scan(model, folder, layers=layers),
            "reductions": lambda: with_reductions(model, folder, layers),
            "forward": lambda: forward(model, folder, layers),
            "reading": lambda: reading(model, folder),
        }
        clock = time.process_time if options.clock == "processor" else time.perf_counter
        times = interleaved(runs, options.repeats, clock=clock)
    print(HEADER)
    print(row(f"scan of {options.n} images, 3 layers / forward", times, "scan", "forward", TARGET))
    print(f"reduction alone: {ratio(times, 'reductions', 'forward') - 1:.1%}")
    print(f"reading the images: {ratio(times, 'reading', 'forward'):.1%}")


if __name__ == "__main__":
    main()
