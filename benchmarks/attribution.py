"""Attribution methods against their peers: the default network, a real photo of 224 px, two threads.

    python benchmarks/attribution.py                     # every row, a quarter of an hour on two free cores
    python benchmarks/attribution.py rise curves --rounds 7
    python benchmarks/attribution.py --quick

Both run in one process, in turn; the ratio is the median over the rounds of ours / peer. Each peer runs at the number
of images at once at which it was fastest beforehand (in brackets), where it has that choice. Peak memory is the
growth of a process of its own for each, which runs once. "Differ by" is the largest difference of the two maps, as a
share of the largest value, where they are meant to be the same. A peer whose rules know only certain modules gets,
as do we, the network with ReLU for ReLU6 and with norms, activations and sums as modules.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import captum.attr
import numpy as np
import psutil
import sklearn.linear_model  # noqa: F401  # before memory is measured: both sides' LIME needs it
import torch
import zennit.attribution
import zennit.canonizers
import zennit.composites
import zennit.layer
from torch import nn
from torch.nn import functional

import convscope
from convscope import Model, evaluate, load_model
from convscope.attribution.coalitions import check_superpixel, numbered_superpixels
from convscope.attribution.noise import noisy_copies
from convscope.evaluation.controls import control_maps
from convscope.models import evaluating, gaussian_blur
from convscope.perturbation import curves, ranks
from convscope.perturbation.baselines import BLUR_SHARE
from convscope.samples import sample_photos
from interleaved import interleaved, ratio

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pytorch_grad_cam
    import quantus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

BATCHES = (4, 8, 16, 32, 64)
SAMPLES = 200  # of Kernel SHAP and LIME: the time of a sample does not depend on their number
STEPS = 50


@dataclass(frozen=True)
class Case:
    """What is explained: a photo (1, 3, 224, 224), preprocessed, and the class that the network sees in it."""

    model: Model
    x: torch.Tensor
    target: int

    @property
    def module(self) -> nn.Module:
        return self.model.module

    def ours(self, method: str, **options: Any) -> np.ndarray:
        return getattr(convscope, method)(self.model, self.x, target=self.target, **options).values[0]


class Pair(NamedTuple):
    """Ours, the peer's for so many images at once, those to be tried, and how far two results are apart."""

    ours: Callable[[], Any]
    peer: Callable[[int], Any]
    at_once: tuple[int, ...] = (1,)
    differ: Callable[[Any, Any], float] | None = None


def case() -> Case:
    model = load_model(device="cpu")
    x = next(model.inputs(sample_photos()["coffee"]).batches(1)).x
    model.structure()
    with evaluating(model.module), torch.no_grad():
        return Case(model, x, int(model.module(x).argmax()))


def largest(ours: Any, peer: Any) -> float:
    a, b = np.asarray(ours, float), np.asarray(peer, float)
    return float(np.abs(a - b).max() / np.abs(b).max())


def from_0_to_1(ours: Any, peer: Any) -> float:
    """Where the peer scales its map."""
    return largest((ours - ours.min()) / np.ptp(ours), peer)


class Added(nn.Module):
    """A residual block of layers in a row, and a sum that Zennit knows."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.body, self.sum = nn.Sequential(*block.children()), zennit.layer.Sum()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sum(torch.stack([self.body(x), x], dim=-1))


def with_plain_modules(whole: Case) -> Case:
    """The same weights in modules that Captum's and Zennit's rules know."""

    def replaced(module: nn.Module) -> nn.Module:
        for name, child in module.named_children():
            setattr(module, name, replaced(child))
        if isinstance(module, nn.ReLU6):
            return nn.ReLU()
        if isinstance(module, nn.BatchNorm2d):
            norm = nn.BatchNorm2d(module.num_features, module.eps)
            norm.load_state_dict(module.state_dict())
            return nn.Sequential(norm, module.act)
        return Added(module) if getattr(module, "has_skip", False) else module

    net = replaced(copy.deepcopy(whole.module)).eval()
    net.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = Model(net, preprocessing=whole.model.preprocessing)
    model.structure()
    return replace(whole, model=model)


def ig(c: Case) -> Pair:
    peer = captum.attr.IntegratedGradients(c.module)

    def run(size: int) -> torch.Tensor:
        options = {"method": "riemann_middle", "internal_batch_size": None if size == STEPS else size}
        return peer.attribute(c.x, baselines=0.0, target=c.target, n_steps=STEPS, **options)[0].sum(dim=0).detach()

    return Pair(lambda: c.ours("integrated_gradients", steps=STEPS), run, (4, 8, 16, STEPS), largest)


def smoothgrad(c: Case) -> Pair:
    class OurNoise(captum.attr.NoiseTunnel):
        """Captum's with the noise that ours draws, for the comparison alone."""

        drawn = 0

        def _add_noise_to_inputs(self, n: int, inputs: Any, stdevs: Any) -> Any:
            self.drawn += n
            return (noisy_copies(c.x[0], 0.15, 0)(self.drawn - n, self.drawn).requires_grad_(),)

    def run(size: int, tunnel: type = captum.attr.NoiseTunnel) -> torch.Tensor:
        deviation = 0.15 * float(c.x.max() - c.x.min())
        options = {"nt_samples": STEPS, "nt_samples_batch_size": size, "stdevs": deviation, "abs": False}
        peer = tunnel(captum.attr.Saliency(c.module))
        return peer.attribute(c.x.clone(), nt_type="smoothgrad", target=c.target, **options)[0].abs().amax(dim=0)

    same = lambda ours, _: largest(ours, run(10, OurNoise))  # noqa: E731
    return Pair(lambda: c.ours("smoothgrad", samples=STEPS), run, (4, 8, 16, STEPS), same)


def cam(name: str, peer_name: str, differ: Callable[[Any, Any], float] | None, c: Case) -> Pair:
    module = copy.deepcopy(c.module)  # the peer's hooks stay on it
    layer = module.get_submodule(c.model.structure().last_spatial.name)
    peer = getattr(pytorch_grad_cam, peer_name)(model=module, target_layers=[layer])
    target = [ClassifierOutputTarget(c.target)]

    def run(_: int) -> np.ndarray:
        with contextlib.redirect_stderr(io.StringIO()):  # Score-CAM's progress
            return peer(input_tensor=c.x, targets=target)[0]

    return Pair(lambda: c.ours(name), run, differ=differ)


def rise(c: Case) -> Pair:
    n, cells, keep = 1000, 7, 0.5

    @torch.inference_mode()
    def run(size: int) -> torch.Tensor:
        drawn = torch.rand((n, cells * cells + 2), generator=torch.Generator().manual_seed(0))
        grids = (drawn[:, :-2] < keep).float().reshape(n, 1, cells, cells)
        cell = c.x.shape[-1] // cells
        corners = (drawn[:, -2:] * cell).long().tolist()
        total, shown, scores = 0.0, 0.0, []
        for some in torch.arange(n).split(size):
            large = functional.interpolate(grids[some], size=(cells + 1) * cell, mode="bilinear")
            places = [corners[m] for m in some.tolist()]
            masks = torch.stack([m[:, i : i + 224, j : j + 224] for m, (i, j) in zip(large, places, strict=True)])
            scores.append(c.module(masks * c.x)[:, c.target])
            total, shown = total + torch.tensordot(scores[-1], masks[:, 0], 1), shown + masks.sum(dim=(0, 1))
        return (total - torch.cat(scores).mean() * shown) / (n * keep)

    return Pair(lambda: c.ours("rise", masks=n), run, BATCHES, largest)


@torch.inference_mode()
def plain_curves(c: Case, behind: torch.Tensor, order: np.ndarray, steps: int, size: int) -> np.ndarray:
    """Deletion from none to all, then insertion between: 2 * steps passes."""
    rank, n = torch.from_numpy(order), order.size
    counts = [round(k / steps * n) for k in range(steps + 1)]
    variants = [(rank < k, behind, c.x[0]) for k in counts] + [(rank < k, c.x[0], behind) for k in counts[1:-1]]
    scores = []
    for first in range(0, len(variants), size):
        batch = torch.stack([torch.where(*variant) for variant in variants[first : first + size]])
        scores.append(c.module(batch)[:, c.target])
    return torch.cat(scores).numpy()


def our_curves(c: Case, order: np.ndarray, steps: int) -> np.ndarray:
    def score_of(output: torch.Tensor, _: int) -> torch.Tensor:
        return output[:, c.target, None]

    with evaluating(c.module), torch.inference_mode():
        found = curves(c.model, c.x[0], [torch.zeros_like(c.x[0])], [order], steps, score_of)
    return np.concatenate([found.deletion[0, 0, :, 0], found.insertion[0, 0, 1:-1, 0]])


def deletion_and_insertion(c: Case) -> Pair:
    order = ranks(c.ours("saliency"))
    run = partial(plain_curves, c, torch.zeros_like(c.x[0]), order, STEPS)
    return Pair(lambda: our_curves(c, order, STEPS), run, BATCHES, largest)


def pixel_flipping(c: Case) -> Pair:
    """Quantus takes channels of pixels one by one, and a number that divides the pixels: 96 passes for both."""
    values, steps = c.ours("saliency"), 48
    per_step = c.x.numel() // (2 * steps)
    peer = quantus.PixelFlipping(features_in_step=per_step, perturb_baseline=0.0, disable_warnings=True)
    arrays = {"x_batch": c.x.numpy(), "y_batch": np.array([c.target]), "a_batch": values[None, None]}
    order = ranks(values)
    return Pair(lambda: our_curves(c, order, steps), lambda _: peer(model=c.module, **arrays, device="cpu"))


def evaluation(c: Case) -> Pair:
    values = c.ours("saliency")
    orders = [ranks(m) for m in (values, *control_maps((224, 224), 0))]
    fills = [torch.zeros_like(c.x[0]), gaussian_blur(c.x[0], BLUR_SHARE * 224)]

    def ours() -> np.ndarray:
        measures = ["deletion_mean", "deletion_blur", "insertion_mean", "insertion_blur"]
        found = evaluate(c.model, c.x, {"m": values}, target=c.target, measures=measures, score="logit").curves
        return np.concatenate([found[:, :2, 0], found[:, 2:, 0, 1:-1]], axis=2)

    def run(size: int) -> np.ndarray:
        return np.stack([[plain_curves(c, b, order, STEPS, size) for b in fills] for order in orders])

    return Pair(ours, run, (8, 16), largest)


def gradient(name: str, peer_name: str, c: Case) -> Pair:
    peer = getattr(captum.attr, peer_name)(c.module)

    def run(_: int) -> torch.Tensor:
        return peer.attribute(c.x.clone().requires_grad_(), target=c.target)[0].detach().abs().amax(dim=0)

    return Pair(lambda: c.ours(name), run, differ=largest)


def guided_grad_cam(c: Case) -> Pair:
    layer = c.model.structure().last_spatial.name
    peer = captum.attr.GuidedGradCam(c.module, c.module.get_submodule(layer))

    def run(_: int) -> torch.Tensor:
        found = peer.attribute(c.x.clone().requires_grad_(), target=c.target, interpolate_mode="bilinear")
        return found[0].detach().abs().amax(dim=0)

    return Pair(lambda: c.ours("guided_grad_cam"), run, differ=largest)


def deep_lift(c: Case) -> Pair:
    peer = captum.attr.DeepLift(c.module)

    def run(_: int) -> torch.Tensor:
        return peer.attribute(c.x.clone(), baselines=0.0, target=c.target)[0].detach().sum(dim=0)

    return Pair(lambda: c.ours("deep_lift"), run, differ=largest)


def lrp(c: Case) -> Pair:
    def run(_: int) -> torch.Tensor:
        merged = [zennit.canonizers.SequentialMergeBatchNorm()]
        with zennit.attribution.Gradient(
            c.module, zennit.composites.EpsilonPlusFlat(canonizers=merged)
        ) as explain:
            _, relevance = explain(
                c.x.clone(), lambda output: output * functional.one_hot(torch.tensor([c.target]), 1000)
            )
        return relevance[0].sum(dim=0).detach()

    return Pair(lambda: c.ours("lrp"), run, differ=largest)


def superpixels(name: str, peer_name: str, c: Case) -> Pair:
    numbered = numbered_superpixels(c.model.to_pixels(c.x)[0], check_superpixel(None, (224, 224)))
    peer = getattr(captum.attr, peer_name)(c.module)
    options = {"baselines": 0.0, "target": c.target, "feature_mask": numbered[None, None], "n_samples": SAMPLES}

    def run(size: int) -> torch.Tensor:
        return peer.attribute(c.x, **options, perturbations_per_eval=size)

    return Pair(lambda: c.ours(name, samples=SAMPLES), run, BATCHES[:-1])


class Row(NamedTuple):
    what: str
    build: Callable[[Case], Pair]
    bound: float | None = None
    plain: bool = False
    rounds: int | None = None


ROWS = {
    "integrated_gradients": Row("Integrated Gradients, 50 steps (Captum)", ig, 0.75),
    "smoothgrad": Row("SmoothGrad, 50 samples (Captum)", smoothgrad, 0.75),
    "grad_cam": Row("Grad-CAM (pytorch-grad-cam)", partial(cam, "grad_cam", "GradCAM", from_0_to_1), 0.8),
    "rise": Row("RISE, 1,000 masks (plain loop)", rise, 0.7),
    "curves": Row("deletion and insertion, 50 steps (plain loop)", deletion_and_insertion, 0.6),
    "pixel_flipping": Row("deletion and insertion, 96 passes (Quantus)", pixel_flipping, 0.6),
    "evaluate": Row("evaluate, 591 passes (plain loop)", evaluation),
    "saliency": Row("saliency (Captum)", partial(gradient, "saliency", "Saliency")),
    "guided_backprop": Row(
        "guided backprop (Captum)", partial(gradient, "guided_backprop", "GuidedBackprop"), plain=True
    ),
    "deconvnet": Row("deconvnet (Captum)", partial(gradient, "deconvnet", "Deconvolution"), plain=True),
    "guided_grad_cam": Row("guided Grad-CAM (Captum)", guided_grad_cam, plain=True),
    "deep_lift": Row("DeepLIFT (Captum)", deep_lift, plain=True),
    "lrp": Row("LRP, composite (Zennit)", lrp, plain=True),
    "layer_cam": Row("Layer-CAM (pytorch-grad-cam)", partial(cam, "layer_cam", "LayerCAM", from_0_to_1)),
    "grad_cam_plus_plus": Row(
        "Grad-CAM++ (pytorch-grad-cam)", partial(cam, "grad_cam_plus_plus", "GradCAMPlusPlus", from_0_to_1)
    ),
    "eigen_cam": Row("Eigen-CAM (pytorch-grad-cam)", partial(cam, "eigen_cam", "EigenCAM", None)),
    "score_cam": Row("Score-CAM (pytorch-grad-cam)", partial(cam, "score_cam", "ScoreCAM", None), rounds=1),
    "kernel_shap": Row(
        f"Kernel SHAP, {SAMPLES} samples (Captum)", partial(superpixels, "kernel_shap", "KernelShap")
    ),
    "lime": Row(f"LIME, {SAMPLES} samples (Captum)", partial(superpixels, "lime", "Lime")),
}


def built(name: str, whole: Case) -> Pair:
    return ROWS[name].build(with_plain_modules(whole) if ROWS[name].plain else whole)


def fastest(pair: Pair) -> int:
    """How many at once the peer does best with."""
    if len(pair.at_once) == 1:
        return pair.at_once[0]
    times = interleaved({str(size): partial(pair.peer, size) for size in pair.at_once}, 1, warm_up=False)
    return min(pair.at_once, key=lambda size: times[str(size)][0])


def growth(run: Callable[[], object]) -> int:
    """By how many MB the resident memory of this process grows while it runs, at most."""
    process, done = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    sizes = [before]

    def watch() -> None:
        while not done.wait(0.002):
            sizes.append(process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    run()
    done.set()
    watching.join()
    return (max(sizes) - before) >> 20


def growth_apart(name: str, at_once: int) -> str:
    """The same in a new process; 0 is ours."""
    command = [sys.executable, __file__, name, "--growth", str(at_once)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def compare(name: str, whole: Case, rounds: int) -> str:
    """One row of the table."""
    row, pair = ROWS[name], built(name, whole)
    size = fastest(pair)
    rounds = min(rounds, row.rounds or rounds)
    found: dict[str, Any] = {}

    def keep(side: str, run: Callable[[], Any]) -> None:
        found[side] = run()

    runs = {"ours": partial(keep, "ours", pair.ours), "peer": partial(keep, "peer", partial(pair.peer, size))}
    times = interleaved(runs, rounds, warm_up=row.rounds is None)
    differ = f"{pair.differ(found['ours'], found['peer']):.0e}" if pair.differ else "-"
    at_once = f"({size})" if len(pair.at_once) > 1 else ""
    bound = f"{row.bound:.2f}" if row.bound else "-"
    seconds = f"{median(times['ours']):8.3f} {median(times['peer']):8.3f} {at_once:>5}"
    memory = f"{growth_apart(name, 0):>6} {growth_apart(name, size):>6}"
    return f"{row.what:46} {seconds} {ratio(times, 'ours', 'peer'):6.2f} {bound:>8} {memory} {differ:>10}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="row", help=f"only these of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--growth", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    torch.set_num_threads(2)
    warnings.simplefilter("ignore")  # the peers'
    whole = case()
    if options.growth is not None:
        pair = built(options.rows[0], whole)
        print(growth(partial(pair.peer, options.growth) if options.growth else pair.ours))
        return
    rounds = 2 if options.quick else options.rounds
    print(f"{whole.model.name}, {rounds} rounds, {torch.get_num_threads()} threads; seconds, and MB at most")
    print(
        f"{'':46} {'ours':>8} {'peer':>8} {'':5} {'ratio':>6} {'at most':>8} {'MB':>6} {'peer':>6} {'differ by':>10}"
    )
    for name in options.rows or ROWS:
        print(compare(name, whole, rounds), flush=True)


if __name__ == "__main__":
    main()
