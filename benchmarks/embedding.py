"""How close `embed` comes to the sum of its parts: decoding alone plus the forward pass alone.

    python benchmarks/embedding.py --n 200 --repeats 3

The three are measured in turn, in one process, on the same JPEG files of 500 x 375 pixels with two threads; the
table shows medians. `embed` decodes the next images while the network runs, so that on two free cores it can take
less than the sum; the target is at most 1.15 of it. "Forward alone" is the network as it is; `embed` folds its
batch norms into its convolutions for the time of the run.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from convscope.embedding import embed
from convscope.images import load_images
from convscope.models import Model, evaluating, load_model, run_to
from convscope.samples import sample_photos
from interleaved import Runs, interleaved, ratio

TARGET = 1.15
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


def forward(model: Model, batches: list[torch.Tensor], layer: str) -> None:
    with evaluating(model.module), torch.inference_mode():
        for x in batches:
            run_to(model.module, x, [layer])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200, help="images")
    parser.add_argument("--repeats", type=int, default=3, help="rounds, of which the median counts")
    parser.add_argument("--model", default="efficientnet-lite0")
    options = parser.parse_args()
    torch.set_num_threads(2)
    model = load_model(options.model, device="cpu", pretrained=options.model == "efficientnet-lite0")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_jpegs(folder, options.n)
        layer = embed(model, folder).layer  # warms up: files, the network's structure, its digest
        batches = [batch.x for batch in model.batches(model.inputs(folder))]
        runs: Runs = {
            "decode": lambda: decode(folder),
            "forward": lambda: forward(model, batches, layer),
            "embed": lambda: embed(model, folder),
        }
        times = interleaved(runs, options.repeats, warm_up=False)
    times["sum"] = [a + b for a, b in zip(times["decode"], times["forward"], strict=True)]
    print(f"{model.name}, {options.n} JPEGs of {SIZE[0]} x {SIZE[1]}, {options.repeats} rounds, 2 threads")
    for name, values in times.items():
        print(f"{name:8} {median(values):7.3f} s  {median(values) / options.n * 1e3:6.2f} ms an image")
    print(f"embed / (decode + forward): {ratio(times, 'embed', 'sum'):.2f} (target: at most {TARGET})")


if __name__ == "__main__":
    main()
