"""How close `embed` comes to the sum of its parts: decoding alone plus the forward pass alone.

    python benchmarks/embedding.py --n 2000 --repeats 3
    python benchmarks/embedding.py --memory

They are measured in turn, in one process, on the same JPEG files of 500 x 375 pixels with two threads; the table
shows medians. `embed` decodes the next images while the network runs, so that on two free cores it can take less
than the sum; the target is at most 1.1 of it, also into a store. "Forward alone" is the network as it is;
`embed` folds its batch norms into its convolutions for the time of the run. "Fast forward" is bfloat16 and
compiled, and should be 2.5 times as fast where the processor knows the type. Peak memory should not go with the
number of images.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from convscope.embedding import embed
from convscope.embedding.features import Extractor
from convscope.execution import evaluating, run_to
from convscope.images import load_images
from convscope.models import Model, load_model
from convscope.samples import sample_photos
from interleaved import Runs, interleaved, ratio

TARGET, FAST_TARGET = 1.1, 2.5
SIZE = (500, 375)  # width, height


def write_jpegs(folder: Path, n: int) -> None:
    """n different parts of the sample photos."""
    photos = [Image.fromarray(pixels) for pixels in sample_photos().values()]
    rng = np.random.default_rng(0)
    for i in range(n):
        photo = photos[i % len(photos)]
        left, top = rng.integers(photo.width // 3), rng.integers(photo.height // 3)
        part = photo.crop((left, top, left + 2 * photo.width // 3, top + 2 * photo.height // 3))
        part.resize(SIZE).save(folder / f"{i:05d}.jpg", quality=90)


def decode(folder: Path) -> None:
    for _ in load_images(folder):
        pass


def into_new_store(model: Model, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        embed(model, folder, store=Path(name) / "s.lance")


def forward(model: Model, batches: list[torch.Tensor], layer: str) -> None:
    with evaluating(model.module), torch.inference_mode():
        for x in batches:
            run_to(model.module, x, [layer])


@contextmanager
def fast(model: Model, batches: list[torch.Tensor]) -> Iterator[Callable[[], None]]:
    """The forward pass in bfloat16, compiled before it is measured."""
    shape = (batches[0].shape[1], batches[0].shape[2], batches[0].shape[3])
    extractor = Extractor.at(model, shape, None, precision="bfloat16", compiled=True, scores=True)
    size, images = extractor.batch_size, torch.cat(batches)
    with extractor.running() as extract:
        extract(images[:size])

        def run() -> None:
            with torch.inference_mode():
                for first in range(0, len(images), size):
                    extract(images[first : first + size])

        yield run


def peaks(model_name: str, sizes: tuple[int, ...]) -> None:
    """Peak memory of a process of its own for each number of images."""
    for n in sizes:
        command = [sys.executable, __file__, "--peak", "--n", str(n), "--model", model_name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"{n:6} images into a store: peak {done.stdout.strip()} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200, help="images")
    parser.add_argument("--repeats", type=int, default=3, help="rounds, of which the median counts")
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--memory", action="store_true", help="peak memory against the number of images")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        peaks(options.model, (100, 1000, 4000))
        return
    torch.set_num_threads(2)
    model = load_model(options.model, device="cpu", pretrained=options.model == "efficientnet-lite0")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_jpegs(folder, options.n)
        if options.peak:
            embed(model, folder, store=folder.parent / f"{folder.name}.lance")
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
            shutil.rmtree(folder.parent / f"{folder.name}.lance")
            return
        layer = embed(model, folder).layer  # warms up: files, the network's structure, its digest
        batches = [batch.x for batch in model.batches(model.inputs(folder))]
        with fast(model, batches) as fast_forward:
            runs: Runs = {
                "decode": lambda: decode(folder),
                "forward": lambda: forward(model, batches, layer),
                "embed": lambda: embed(model, folder),
                "store": lambda: into_new_store(model, folder),
                "fast forward": fast_forward,
            }
            times = interleaved(runs, options.repeats, warm_up=False)
    times["sum"] = [a + b for a, b in zip(times["decode"], times["forward"], strict=True)]
    print(f"{model.name}, {options.n} JPEGs of {SIZE[0]} x {SIZE[1]}, {options.repeats} rounds, 2 threads")
    for name, values in times.items():
        print(f"{name:12} {median(values):7.3f} s  {median(values) / options.n * 1e3:6.2f} ms an image")
    for name in ("embed", "store"):
        print(f"{name} / (decode + forward): {ratio(times, name, 'sum'):.2f} (target: at most {TARGET})")
    print(
        f"forward / fast forward: {ratio(times, 'forward', 'fast forward'):.2f} (target: at least {FAST_TARGET})"
    )


if __name__ == "__main__":
    main()
