"""What `attribution.py` runs: each method of ours and of its best peer, on the same image with the same settings.

A peer that has rules for certain modules only (guided backprop to LRP) gets, as do we, the network with ReLU for
ReLU6, and with norms, activations and sums as modules.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import captum.attr
import numpy as np
import torch
import zennit.attribution
import zennit.canonizers
import zennit.composites
import zennit.layer
from torch import nn
from torch.nn import functional

import convscope
from convscope import Model, evaluate, load_model
from convscope.attribution.noisy_gradients import noisy_copies
from convscope.attribution.superpixel_coalitions import check_superpixel, numbered_superpixels
from convscope.evaluation.controls import control_maps
from convscope.execution import convolutions_of, evaluating, fused
from convscope.perturbation import baseline_of, curves, ranks, score_variants
from convscope.samples import sample_photos

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pytorch_grad_cam
    import quantus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

BATCHES = (4, 8, 16)
NOISE = 0.15  # of SmoothGrad
MASKS, CELLS, KEEP = 1000, 7, 0.5  # of RISE
STEPS = 50
SAMPLES = 200  # of Kernel SHAP and LIME; the time of a sample does not depend on their number


@dataclass(frozen=True)
class Case:
    """What is explained: a photo (1, 3, 224, 224), preprocessed, and the class that the network sees in it."""

    model: Model
    x: torch.Tensor
    target: int

    @property
    def module(self) -> nn.Module:
        return self.model.module

    @property
    def layer(self) -> str:
        """Where class activation maps are made."""
        return self.model.structure().last_spatial.name

    def ours(self, method: str, **options: Any) -> np.ndarray:
        return getattr(convscope, method)(self.model, self.x, target=self.target, **options).values[0]


class Pair(NamedTuple):
    """Ours, the peer's for so many images at once, those to be tried, and how far two results are apart.

    ``by_itself`` is how many at once the peer runs where its user does not say.
    """

    ours: Callable[[], Any]
    peer: Callable[[int], Any]
    at_once: tuple[int, ...] = (1,)
    by_itself: int = 1
    differ: Callable[[Any, Any], float] | None = None


def photo() -> Case:
    model = load_model(device="cpu")
    x = next(model.inputs(sample_photos()["coffee"]).batches(1)).x.contiguous()  # as transforms give it
    with evaluating(model.module), torch.no_grad():
        return Case(model, x, int(model.module(x).argmax()))


def largest(ours: Any, peer: Any) -> float:
    a, b = np.asarray(ours, float), np.asarray(peer, float)
    return float(np.abs(a - b).max() / np.abs(b).max())


def from_0_to_1(ours: Any, peer: Any) -> float:
    """Where the peer scales its map so."""
    return largest((ours - ours.min()) / np.ptp(ours), peer)


def with_plain_modules(whole: Case) -> Case:
    """The same weights in modules that Captum's and Zennit's rules know."""

    class Added(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.body, self.sum = nn.Sequential(*block.children()), zennit.layer.Sum()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.sum(torch.stack([self.body(x), x], dim=-1))

    def replaced(module: nn.Module) -> nn.Module:
        for name, child in module.named_children():
            setattr(module, name, replaced(child))
        if isinstance(module, nn.ReLU6):
            return nn.ReLU()
        if isinstance(module, nn.BatchNorm2d):
            norm = nn.BatchNorm2d(module.num_features, eps=0.0)  # Zennit merges a norm without its eps
            norm.load_state_dict(module.state_dict())
            norm.running_var += module.eps
            return nn.Sequential(norm, module.act)
        return Added(module) if getattr(module, "has_skip", False) else module

    net = replaced(copy.deepcopy(whole.module)).eval()
    net.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return replace(whole, model=Model(net, preprocessing=whole.model.preprocessing))


def integrated_gradients(c: Case) -> Pair:
    peer = captum.attr.IntegratedGradients(c.module)

    def run(size: int) -> torch.Tensor:
        at_once = None if size == STEPS else size
        options = {"n_steps": STEPS, "method": "riemann_middle", "internal_batch_size": at_once}
        return peer.attribute(c.x, baselines=0.0, target=c.target, **options)[0].detach().sum(dim=0)

    return Pair(lambda: c.ours("integrated_gradients", n_steps=STEPS), run, (4, 8, 16), STEPS, largest)


def captums(name: str, peer_name: str, c: Case) -> Pair:
    """A method of one pass."""
    layer = [c.module.get_submodule(c.layer)] if peer_name == "GuidedGradCam" else []
    peer = getattr(captum.attr, peer_name)(c.module, *layer)
    options = {"GuidedGradCam": {"interpolate_mode": "bilinear"}, "DeepLift": {"baselines": 0.0}}.get(
        peer_name, {}
    )

    def run(_: int) -> torch.Tensor:
        found = peer.attribute(c.x.clone().requires_grad_(), target=c.target, **options)[0].detach()
        return found.sum(dim=0) if peer_name == "DeepLift" else found.abs().amax(dim=0)

    return Pair(lambda: c.ours(name), run, differ=largest)


def smoothgrad(c: Case) -> Pair:
    class OurNoise(captum.attr.NoiseTunnel):
        """Captum's with the noise that ours draws, for the comparison alone."""

        drawn = 0

        def _add_noise_to_inputs(self, n: int, inputs: Any, stdevs: Any) -> Any:
            self.drawn += n
            return (noisy_copies(c.x[0], NOISE, 0)(self.drawn - n, self.drawn).requires_grad_(),)

    def run(size: int, tunnel: type = captum.attr.NoiseTunnel) -> torch.Tensor:
        options = {"nt_samples": STEPS, "nt_samples_batch_size": size, "abs": False}
        deviation = NOISE * float(c.x.max() - c.x.min())
        peer = tunnel(captum.attr.Saliency(c.module))
        found = peer.attribute(c.x.clone(), nt_type="smoothgrad", stdevs=deviation, target=c.target, **options)
        return found[0].detach().abs().amax(dim=0)

    def ours() -> np.ndarray:
        return c.ours("smoothgrad", n_samples=STEPS, noise=NOISE)

    return Pair(ours, run, (4, 8, 16), STEPS, lambda found, _: largest(found, run(10, OurNoise)))


def cam(name: str, peer_name: str, c: Case) -> Pair:
    module = copy.deepcopy(c.module)  # the peer's hooks stay on it
    peer = getattr(pytorch_grad_cam, peer_name)(model=module, target_layers=[module.get_submodule(c.layer)])
    # Theirs centers the channels in the one, and enlarges from corner to corner in the other.
    differ = None if peer_name in ("EigenCAM", "ScoreCAM") else from_0_to_1

    def run(_: int) -> np.ndarray:
        with contextlib.redirect_stderr(io.StringIO()):  # Score-CAM shows its progress
            return peer(input_tensor=c.x, targets=[ClassifierOutputTarget(c.target)])[0]

    return Pair(lambda: c.ours(name), run, differ=differ)


def rise(c: Case) -> Pair:
    height, width = c.x.shape[2:]
    cell = height // CELLS

    @torch.inference_mode()
    def run(size: int) -> torch.Tensor:
        drawn = torch.rand((MASKS, CELLS * CELLS + 2), generator=torch.Generator().manual_seed(0))
        grids = (drawn[:, :-2] < KEEP).float().reshape(-1, 1, CELLS, CELLS)
        corners = (drawn[:, -2:] * cell).long()
        total, shown, scores = 0.0, 0.0, []
        for some, places in zip(grids.split(size), corners.split(size), strict=True):
            large = functional.interpolate(some, size=(CELLS + 1) * cell, mode="bilinear")
            cut = [m[:, i : i + height, j : j + width] for m, (i, j) in zip(large, places.tolist(), strict=True)]
            masks = torch.stack(cut)
            scores.append(c.module(masks * c.x)[:, c.target])
            total = total + torch.tensordot(scores[-1], masks[:, 0], 1)
            shown = shown + masks[:, 0].sum(dim=0)
        return (total - torch.cat(scores).mean() * shown) / (MASKS * KEEP)

    return Pair(lambda: c.ours("rise", n_masks=MASKS, cells=CELLS, keep=KEEP), run, BATCHES, 32, largest)


@torch.inference_mode()
def plain_curves(c: Case, behind: torch.Tensor, order: np.ndarray, steps: int, size: int) -> np.ndarray:
    """Deletion from none to all, then insertion between: 2 * steps passes."""
    rank, x = torch.from_numpy(order), c.x[0]
    counts = [round(k / steps * rank.numel()) for k in range(steps + 1)]
    variants = [(k, behind, x) for k in counts] + [(k, x, behind) for k in counts[1:-1]]
    scores = []
    for first in range(0, len(variants), size):
        made = [torch.where(rank < k, high, low) for k, high, low in variants[first : first + size]]
        scores.append(c.module(torch.stack(made))[:, c.target])
    return torch.cat(scores).numpy()


def our_curves(c: Case, behind: torch.Tensor, order: np.ndarray, steps: int) -> np.ndarray:
    def score_of(output: torch.Tensor, _: int) -> torch.Tensor:
        return output[:, c.target, None]

    with evaluating(c.module), torch.inference_mode():
        fusing = fused(convolutions_of(c.module, lambda: c.module(c.x.clone())))
        score = partial(score_variants, c.model, tuple(c.x.shape[1:]), score_of=score_of, fusing=fusing)
        found = curves(c.x[0], [behind], [order], steps, score)
    return np.concatenate([found.deletion[0, 0, :, 0], found.insertion[0, 0, 1:-1, 0]])


def deletion_and_insertion(c: Case) -> Pair:
    what = (c, torch.zeros_like(c.x[0]), ranks(c.ours("saliency")), STEPS)
    return Pair(partial(our_curves, *what), partial(plain_curves, *what), BATCHES, 32, largest)


def pixel_flipping(c: Case) -> Pair:
    """Quantus changes single values of channels, as many at a time as divide the pixels: 96 passes for both."""
    values, passes = c.ours("saliency"), 96
    peer = quantus.PixelFlipping(c.x.numel() // passes, perturb_baseline=0.0, disable_warnings=True)
    arrays = {"x_batch": c.x.numpy(), "y_batch": np.array([c.target]), "a_batch": values[None, None]}
    ours = partial(our_curves, c, torch.zeros_like(c.x[0]), ranks(values), passes // 2)
    return Pair(ours, lambda _: peer(model=c.module, **arrays, device="cpu"))


def evaluation(c: Case) -> Pair:
    values, size = c.ours("saliency"), c.x.shape[2:]
    orders = [ranks(m) for m in (values, *control_maps(size, 0))]
    fills = [baseline_of(c.model, b, preprocessed=True, seed=0)(c.x[0]) for b in ("mean", "blur")]

    def ours() -> np.ndarray:
        measures = ["deletion_mean", "insertion_mean"]
        found = evaluate(
            c.model, c.x, values[None], target=c.target, measures=measures, n_steps=STEPS, score="logit"
        )
        return np.concatenate([found.curves[:, :2, 0], found.curves[:, 2:, 0, 1:-1]], axis=2)

    def run(at_once: int) -> np.ndarray:
        return np.stack([[plain_curves(c, b, order, STEPS, at_once) for b in fills] for order in orders])

    return Pair(ours, run, BATCHES[:3], 32, largest)


def lrp(c: Case) -> Pair:
    start = functional.one_hot(torch.tensor([c.target]), 1000)

    def run(_: int) -> torch.Tensor:
        merged = [zennit.canonizers.SequentialMergeBatchNorm()]
        composite = zennit.composites.EpsilonPlusFlat(canonizers=merged)
        with zennit.attribution.Gradient(c.module, composite) as explain:
            return explain(c.x.clone(), lambda output: output * start)[1][0].detach().sum(dim=0)

    return Pair(lambda: c.ours("lrp"), run, differ=largest)


def superpixels(name: str, peer_name: str, c: Case) -> Pair:
    numbered = numbered_superpixels(c.model.to_pixels(c.x)[0], check_superpixel(None, c.x.shape[2:]))
    peer = getattr(captum.attr, peer_name)(c.module)
    options = {"baselines": 0.0, "target": c.target, "feature_mask": numbered[None, None], "n_samples": SAMPLES}

    def run(size: int) -> torch.Tensor:
        return peer.attribute(c.x, **options, perturbations_per_eval=size)

    return Pair(lambda: c.ours(name, n_samples=SAMPLES), run, BATCHES, by_itself=1)
