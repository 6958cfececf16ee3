"""Outputs for variants of an image: against the whole network run on each of them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from convscope.incremental import IncrementalRun, Plan
from tests.incremental.networks import HEADS, LAYERS, network

# PyTorch's own remark on even kernels; it comes once in a process.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")


def rectangles(size: tuple[int, int], n: int, rng: np.random.Generator) -> np.ndarray:
    """Random ones of all sizes, (n, 4) top, left, bottom, right."""
    tops, lefts = rng.integers(0, size[0], n), rng.integers(0, size[1], n)
    largest = rng.choice([1, 4, 8, max(size)])
    bottoms = np.minimum(tops + rng.integers(1, largest + 1, n), size[0])
    rights = np.minimum(lefts + rng.integers(1, largest + 1, n), size[1])
    return np.stack([tops, lefts, bottoms, rights], axis=1)


def both_ways(module: nn.Module, size: tuple[int, int], seed: int, at_once: int = 5) -> tuple[torch.Tensor, ...]:
    """Outputs for 9 variants from the engine and from the whole network, and for the image itself."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    image = torch.randn(3, *size, generator=generator).to(dtype)
    where = rectangles(size, 9, rng)
    variants = image.repeat(len(where), 1, 1, 1)
    for variant, (top, left, bottom, right) in zip(variants, where, strict=True):
        variant[:, top:bottom, left:right] = torch.randn(3, bottom - top, right - left, generator=generator).to(
            dtype
        )
    with torch.inference_mode():
        expected, whole = module(variants.clone()), module(image[None].clone())
        plan = Plan(module, image)
        run, changes = IncrementalRun(plan, image), plan.changes(where)
        found = torch.empty_like(expected)
        for first in range(0, len(where), at_once):
            layout = changes.layout(changes.order[first : first + at_once])
            part = layout.parts[plan.graph.input]
            assert part is not None
            given = [
                variants[row, :, y : y + part.height, x : x + part.width]
                for row, y, x in zip(layout.rows, part.top, part.left, strict=True)
            ]
            found[layout.rows] = run.outputs(layout, torch.stack(given))
    return found, expected, run.output, whole


def assert_same(module: nn.Module, size: tuple[int, int], seed: int, at_once: int = 5) -> None:
    """Equal to the network run whole, to 2e-5 of the range of the output.

    Where a network is so badly conditioned that running it whole in float32 is further than that from float64, the
    engine may be as far.
    """
    found, expected, own, whole = both_ways(module, size, seed, at_once)
    span = max(float(np.ptp(torch.cat([expected, whole]).numpy())), 1e-3)
    differences = torch.cat([found - expected, own - whole]).abs()
    if float(differences.max()) <= 2e-5 * span:
        return
    _, exact, _, exact_whole = both_ways(copy.deepcopy(module).double(), size, seed, at_once)
    of_whole = float(torch.cat([expected - exact, whole - exact_whole]).abs().max())
    torch.testing.assert_close(own.double(), exact_whole, atol=2e-5 * span + of_whole, rtol=0)
    torch.testing.assert_close(found.double(), exact, atol=2e-5 * span + of_whole, rtol=0)


@pytest.mark.slow
@given(
    names=st.lists(st.sampled_from(sorted(LAYERS)), max_size=9),
    head=st.sampled_from(sorted(HEADS)),
    size=st.tuples(st.integers(6, 24), st.integers(6, 24)),
    seed=st.integers(0, 10**6),
    at_once=st.integers(1, 9),
)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_random_networks(names: list[str], head: str, size: tuple[int, int], seed: int, at_once: int) -> None:
    assert_same(network(names, head, size, seed), size, seed, at_once)


@pytest.mark.parametrize("name", sorted(LAYERS))
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_layer_between_two_convolutions(name: str, seed: int) -> None:
    size = (18, 21)
    assert_same(network(["same", name, "convolution"], "pooled", size, seed), size, seed)


def test_a_badly_conditioned_network_is_not_further_off_than_when_it_is_run_whole() -> None:
    names = ["twice", "activation", "padding", "branches"]  # running this one whole is off by 6.5e-5 of the range
    assert_same(network(names, "activations", (6, 6), 446303), (6, 6), 446303, 1)
