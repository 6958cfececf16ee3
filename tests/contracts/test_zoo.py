"""Every method over every kind of network: it works, or says why it does not fit; and a summary says the same."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.contracts.kinds import EVERY, Kind, inputs, network, wrapped
from tests.contracts.zoo import PAGE, outcomes, page, run
from torch import nn

from convscope import Attribution, LayerError, ModelError
from convscope.registry import TRIED_BY

KINDS = [pytest.param(kind, id=kind.name) for kind in EVERY]
# With these, PyTorch's compilers, Keras or Hugging Face's library have to be imported.
HEAVY = ("Hugging Face", "CLIP", "Keras", "ONNX", "torch.export", "Swin")
SHARED = [
    pytest.param(kind, id=kind.name, marks=[pytest.mark.slow] * any(word in kind.name for word in HEAVY))
    for kind in EVERY
]


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, str]]:
    return {kind.name: outcomes(kind) for kind in EVERY}


@pytest.mark.slow
def test_the_page_is_what_came_of_the_methods(found: dict[str, dict[str, str]]) -> None:
    written = page(found)
    assert PAGE.read_text("utf-8") == written, "write it again: PYTHONPATH=src python -m tests.contracts.zoo"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_summary_says_which_methods_fit(kind: Kind, found: dict[str, dict[str, str]]) -> None:
    model, reasons = wrapped(kind), found[kind.name]
    if len(set(reasons.values())) == 1 and all(reasons.values()):  # no method can run on it
        with pytest.raises(ModelError, match=re.escape(reasons["saliency"])):
            model.summary(kind.shape[1:])
        return
    summary = model.summary(kind.shape[1:])
    assert {name for name, _ in summary.fits} == {name for name, why in reasons.items() if not why}
    # Methods that take long give the reason of the one that was tried in their place.
    for name, why in summary.does_not_fit:
        assert name in TRIED_BY or why == reasons[name].removeprefix(f"{name} ")


# --- the right values --------------------------------------------------------------------------------------

ROUNDING = {torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 8e-2}  # of a score, as a share of it


class ByHand:
    """The scores (2,) of the inputs of a kind, and for each input the function from another one to its score."""

    def __init__(self, kind: Kind, dtype: torch.dtype) -> None:
        self.net, self.x = network(kind), inputs(kind).to(dtype).requires_grad_(dtype.is_floating_point)
        self.functions = []
        for one in self.x.detach().split(1):  # one at a time, as some networks mix the rows of a batch
            with torch.no_grad():
                meant = kind.score(kind.run(self.net, one))
            self.functions.append(lambda given, meant=meant: meant(kind.run(self.net, given)))
        parts = [of(one) for of, one in zip(self.functions, self.x.split(1), strict=True)]
        self.scores = torch.cat(parts)
        self.rounding = kind.rounding or ROUNDING[dtype]

    def gives(self, found: np.ndarray, expected: torch.Tensor, scale: float) -> None:
        """Assert that both are the same up to the rounding of numbers of this size."""
        expected = expected.detach().float().numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=self.rounding * scale)


def fitting(name: str, kind: Kind, /, **options: Any) -> tuple[Attribution, ByHand]:
    """What a method gives, and the same network by hand; skipped where it does not fit, as the page says."""
    model = wrapped(kind)
    try:
        return run(name, kind, model, **options), ByHand(kind, model.dtype)
    except (ModelError, LayerError) as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", SHARED)
def test_saliency_is_what_autograd_gives_of_the_score_by_hand(kind: Kind) -> None:
    found, hand = fitting("saliency", kind, kind="signed")
    (expected,) = torch.autograd.grad(hand.scores.sum(), hand.x)
    hand.gives(found.scores, hand.scores, float(hand.scores.detach().abs().max()))
    hand.gives(found.values, expected.sum(dim=1), float(expected.abs().sum(dim=1).max()))
    assert found.values.any()


@pytest.mark.parametrize("kind", SHARED)
def test_occlusion_is_what_a_loop_over_the_windows_gives(kind: Kind) -> None:
    sides = kind.shape[1:]
    half = tuple(side // 2 for side in sides)
    quarter = tuple(side // 2 for side in half)
    found, hand = fitting("occlusion", kind, window=half, stride=quarter)
    total, cover = torch.zeros(2, *sides), torch.zeros(sides)
    starts = [range(0, side - long + step, step) for side, long, step in zip(sides, half, quarter, strict=True)]
    for start in itertools.product(*starts):
        here = tuple(slice(first, first + long) for first, long in zip(start, half, strict=True))
        cover[here] += 1
        for i, score_of in enumerate(hand.functions):
            hidden = hand.x[i : i + 1].detach().clone()
            hidden[:, :, *here] = 0
            with torch.no_grad():
                total[i, *here] += float(hand.scores[i] - score_of(hidden)[0])
    assert (cover > 0).all()
    hand.gives(found.values, total / cover, float(hand.scores.detach().abs().max()))
    assert found.values.any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_grad_cam_is_what_its_formula_gives(kind: Kind) -> None:
    """Of layers that are modules: the mean gradient of each channel, times its map, added up and enlarged."""
    found, hand = fitting("grad_cam", kind, kind="signed")
    name, sides = found.provenance.parameters["layer"], kind.shape[1:]
    if name not in dict(hand.net.named_modules()):
        pytest.skip(f"{name} is a part of an output, or of a network that was read from a file")
    size = wrapped(kind).structure(kind.shape).find(name).shape[1:]
    each = []  # (K, *size) of each input
    for score_of, one in zip(hand.functions, hand.x.split(1), strict=True):
        output, gradient = output_and_gradient(hand.net.get_submodule(name), lambda of=score_of, x=one: of(x))
        maps, slopes = in_place(output[0], size), in_place(gradient[0], size)
        each.append(slopes.flatten(1).mean(dim=1).view(-1, *(1 for _ in size)) * maps)
    sums = torch.stack(each).sum(dim=1, keepdim=True)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(sides)]
    expected = nn.functional.interpolate(sums, sides, mode=mode)[:, 0]
    hand.gives(found.values, expected, float(torch.stack(each).abs().sum(dim=1).max()))
    assert found.values.any()


def output_and_gradient(layer: nn.Module, score: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """What a layer puts out, at first, while a score (1,) is computed, and the gradient there."""
    kept: list[torch.Tensor] = []

    def keep(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        kept.append(output.clone())
        return kept[-1].clone()  # what follows may be in place

    handle = layer.register_forward_hook(keep)
    (found,) = score()
    handle.remove()
    (gradient,) = torch.autograd.grad(found, kept[0])
    return kept[0].detach(), gradient


def in_place(output: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """The output for one input as maps (K, *size): these, or with the channels last, or tokens (T, K)."""
    if output.shape[1:] == size:
        return output
    if output.shape[:-1] == size:
        return output.movedim(-1, 0)
    return output[-math.prod(size) :].T.reshape(-1, *size)
