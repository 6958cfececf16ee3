"""Attribution methods against their peers: the default network, a real photo of 224 px, two threads.

    python benchmarks/attribution.py        # every row: about half an hour on two free cores
    python benchmarks/attribution.py rise curves --rounds 7
    python benchmarks/attribution.py --quick

All run in turn, in one process; a ratio is the median over the rounds of ours / peer. Where a peer lets its user
say how many images go through the network at once (in brackets), it runs twice: at the number that was fastest
beforehand, and at the one it takes by itself (for our plain loops, 32). MB is by how much the memory of a process
of its own grew at most, for us and for the peer at its fastest. "Differ" is the largest difference of the two
maps, as a share of the largest value, where they are meant to be the same:

    Integrated Gradients, SmoothGrad: some units are so near a kink of their ReLU6 that rounding decides on which
        side they are; float64 lies as far from the one as from the other.
    Grad-CAM++: the peer adds 1e-6 to a denominator that is not much larger.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import psutil
import torch

from attribution_peers import (
    SAMPLES,
    Case,
    Pair,
    cam,
    captums,
    deletion_and_insertion,
    evaluation,
    integrated_gradients,
    lrp,
    photo,
    pixel_flipping,
    rise,
    smoothgrad,
    superpixels,
    with_plain_modules,
)
from interleaved import interleaved, ratio


class Row(NamedTuple):
    """``peer``: its name, for builders of several rows. ``plain``: on the network with plain modules."""

    what: str
    build: Callable[..., Pair]
    peer: str | None = None
    bound: float | None = None
    plain: bool = False


ROWS = {
    "integrated_gradients": Row("Integrated Gradients, 50 steps (Captum)", integrated_gradients, bound=0.75),
    "smoothgrad": Row("SmoothGrad, 50 samples (Captum)", smoothgrad, bound=0.75),
    "grad_cam": Row("Grad-CAM (pytorch-grad-cam)", cam, "GradCAM", bound=0.8),
    "rise": Row("RISE, 1,000 masks (plain loop)", rise, bound=0.7),
    "curves": Row("deletion, insertion, 50 steps (plain loop)", deletion_and_insertion, bound=0.6),
    "pixel_flipping": Row("deletion, insertion, 96 passes (Quantus)", pixel_flipping, bound=0.6),
    "evaluate": Row("evaluate, 591 passes (plain loop)", evaluation),
    "saliency": Row("saliency (Captum)", captums, "Saliency"),
    "guided_backprop": Row("guided backprop (Captum)", captums, "GuidedBackprop", plain=True),
    "deconvnet": Row("deconvnet (Captum)", captums, "Deconvolution", plain=True),
    "guided_grad_cam": Row("guided Grad-CAM (Captum)", captums, "GuidedGradCam", plain=True),
    "deep_lift": Row("DeepLIFT (Captum)", captums, "DeepLift", plain=True),
    "lrp": Row("LRP, composite (Zennit)", lrp, plain=True),
    "layer_cam": Row("Layer-CAM (pytorch-grad-cam)", cam, "LayerCAM"),
    "grad_cam_plus_plus": Row("Grad-CAM++ (pytorch-grad-cam)", cam, "GradCAMPlusPlus"),
    "eigen_cam": Row("Eigen-CAM (pytorch-grad-cam)", cam, "EigenCAM"),
    "score_cam": Row("Score-CAM (pytorch-grad-cam)", cam, "ScoreCAM"),
    "kernel_shap": Row(f"Kernel SHAP, {SAMPLES} samples (Captum)", superpixels, "KernelShap"),
    "lime": Row(f"LIME, {SAMPLES} samples (Captum)", superpixels, "Lime"),
}


def built(name: str, whole: Case) -> Pair:
    row = ROWS[name]
    case = with_plain_modules(whole) if row.plain else whole
    case.model.structure()  # found once a network
    return row.build(name, row.peer, case) if row.peer else row.build(case)


def fastest(pair: Pair) -> int:
    """How many at once the peer does best with."""
    if len(pair.at_once) == 1:
        return pair.at_once[0]
    pair.peer(pair.at_once[0])  # warms up
    seconds = interleaved({str(size): partial(pair.peer, size) for size in pair.at_once}, 1, warm_up=False)
    return min(pair.at_once, key=lambda size: seconds[str(size)])


def growth(run: Callable[[], object]) -> int:
    """By how many MB the resident memory of this process grows at most."""
    process, done = psutil.Process(), threading.Event()
    sizes = [process.memory_info().rss]

    def watch() -> None:
        while not done.wait(0.002):
            sizes.append(process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    run()
    done.set()
    watching.join()
    return (max(sizes) - sizes[0]) >> 20


def growth_apart(name: str, at_once: int) -> str:
    """The same in a process of its own; 0 at once is us."""
    command = [sys.executable, __file__, name, "--growth", str(at_once)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def compare(name: str, whole: Case, rounds: int) -> str:
    """One row of the table."""
    row, pair = ROWS[name], built(name, whole)
    size = fastest(pair)
    found: dict[str, Any] = {}
    runs = {
        "ours": lambda: found.update(ours=pair.ours()),
        "peer": lambda: found.update(peer=pair.peer(size)),
    }
    is_tuned = len(pair.at_once) > 1
    if is_tuned:
        runs["by itself"] = lambda: pair.peer(pair.by_itself)
    once = name == "score_cam"  # 1,280 passes each
    times = interleaved(runs, 1 if once else rounds, warm_up=not once)
    by_itself = f"{median(times['by itself']):7.3f} {f'({pair.by_itself})':>4}" if is_tuned else " " * 12
    bound = f"({row.bound:.2f})" if row.bound else ""
    cells = [
        f"{row.what:42}",
        f"{median(times['ours']):7.3f}",
        f"{median(times['peer']):7.3f} {f'({size})' if is_tuned else '':>4}",
        by_itself,
        f"{ratio(times, 'ours', 'peer'):5.2f}",
        f"{ratio(times, 'ours', 'by itself'):5.2f}" if is_tuned else " " * 5,
        f"{bound:>6}",
        f"{growth_apart(name, 0):>5} {growth_apart(name, size):>5}",
        f"{pair.differ(found['ours'], found['peer']):.0e}" if pair.differ else "",
    ]
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="row", help=f"only these of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, after one that does not count")
    parser.add_argument("--growth", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    torch.set_num_threads(2)
    warnings.simplefilter("ignore")  # the peers'
    whole = photo()
    if options.growth is not None:
        import sklearn.linear_model  # noqa: F401  # LIME's on both sides, and no memory of a run

        pair = built(options.rows[0], whole)
        print(growth(partial(pair.peer, options.growth) if options.growth else pair.ours))
        return
    rounds = 1 if options.quick else options.rounds
    print(f"{whole.model.name}, {rounds} rounds, {torch.get_num_threads()} threads; seconds, ratios, MB")
    peers = f"{'fastest':>12} | {'by itself':>12} | ratio | ratio | {'bound':>6}"
    print(f"{'':42} | {'ours':>7} | {peers} | {'ours':>5} {'peer':>5} | differ")
    for name in options.rows or ROWS:
        print(compare(name, whole, rounds), flush=True)


if __name__ == "__main__":
    main()
