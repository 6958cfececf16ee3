"""One run of a method: what its formula is given, how often the network runs, and what the progress counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import tiny_network

from convscope import ATTRIBUTIONS, ModelError, Several
from convscope.attribution.method_run import Run
from convscope.attribution.scored import ScoredBatch, ScoredImage
from convscope.attribution.steps import Steps
from convscope.models import Model


def a_run(model: Any, images: Any, **options: Any) -> Run:
    return Run("a method", model, images, **{"target": None, **options})


def test_a_batch_comes_with_its_targets_scores_and_gradients(tiny: Model) -> None:
    x = torch.randn(3, 3, 16, 16)
    batches: list[ScoredBatch] = []

    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        batches.append(batch)
        return batch.gradients().sum(dim=2)

    found = a_run(tiny, x, target=Several("a", "c")).by_batch(maps_of)
    leaf = x.clone().requires_grad_()
    scores = tiny.module(leaf)[:, [0, 2]]
    gradients = [torch.autograd.grad(scores[:, t].sum(), leaf, retain_graph=True)[0] for t in (0, 1)]
    expected = torch.stack(gradients, dim=1).sum(dim=2).flatten(0, 1)
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-6)
    assert sum(len(batch.x) for batch in batches) == 3
    torch.testing.assert_close(torch.cat([batch.scores for batch in batches]), scores)
    assert torch.equal(torch.cat([batch.x for batch in batches]), x)
    assert batches[0].pixels.shape[1:] == (16, 16, 3)
    assert batches[0].size == (16, 16)
    assert batches[0].names[0] == "image 0"
    assert found.targets == ("a", "c") * 3


def test_what_the_context_of_the_pass_yields_is_kept(tiny: Model) -> None:
    is_open = False

    @contextmanager
    def keeping(x: torch.Tensor) -> Iterator[str]:
        nonlocal is_open
        assert x.requires_grad
        is_open = True
        yield "kept"
        is_open = False

    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        assert batch.kept == "kept"
        assert not is_open
        return batch.gradients().sum(dim=2)

    a_run(tiny, torch.randn(1, 3, 16, 16)).by_batch(maps_of, keeping=keeping)


@pytest.mark.parametrize("gradients", ["image", "layer", "none"])
def test_only_gradients_at_the_image_make_it_a_leaf(tiny: Model, gradients: Any) -> None:
    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        assert batch.leaf.requires_grad == (gradients == "image")
        assert not batch.x.requires_grad
        if gradients != "image":
            with pytest.raises(ModelError, match="has no gradient"):
                batch.gradients()
        return torch.ones(1, len(batch.x), 16, 16)

    a_run(tiny, torch.randn(2, 3, 16, 16), gradients=gradients).by_batch(maps_of)


def test_variants_are_scored_for_the_target_of_their_own_image(tiny: Model) -> None:
    x, targets = torch.randn(3, 3, 16, 16), [2, 0, 1]
    seen: list[ScoredImage] = []

    def maps_of(image: ScoredImage) -> torch.Tensor:
        variants = torch.randn(5, 3, 16, 16)
        with torch.no_grad():
            expected = tiny.module(variants)[:, [targets[image.position]]]
            torch.testing.assert_close(image.scores_of(variants), expected)
            found = image.score_variants(5, lambda first, end: variants[first:end])
        torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-5)
        mean = image.mean_over(5, lambda first, end: image.gradients(variants[first:end]).sum(dim=1))
        torch.testing.assert_close(mean, image.gradients(variants).mean(dim=1), rtol=0, atol=1e-6)
        seen.append(image)
        return mean.sum(dim=1)

    found = a_run(tiny, x, target=targets, n_steps=10).by_image(maps_of)
    assert [image.name for image in seen] == ["image 0", "image 1", "image 2"]
    assert [image.position for image in seen] == [0, 1, 2]
    assert seen[0].shape == (3, 16, 16)
    assert found.values.shape == (3, 16, 16)
    np.testing.assert_allclose(found.scores, [float(image.scores) for image in seen], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "n_runs"),
    [("saliency", 1), ("guided_backprop", 1), ("grad_cam", 1), ("eigen_cam", 1), ("deep_lift", 2)],
)
def test_a_method_of_one_pass_runs_the_network_no_more_than_it_has_to(name: str, n_runs: int) -> None:
    net, x = tiny_network(), torch.randn(1, 3, 16, 16)
    ATTRIBUTIONS[name](net, x, target=1)  # from now on it is known how the network behaves
    n_seen = 0

    def count(*_: Any) -> None:
        nonlocal n_seen
        n_seen += 1

    net.register_forward_hook(count)
    ATTRIBUTIONS[name](net, x, target=1)
    n_first, n_seen = n_seen, 0  # a new hook has the network looked at again
    ATTRIBUTIONS[name](net, x, target=1)
    assert n_seen == n_runs <= n_first


def test_steps_count_images_that_need_more_or_fewer_than_thought() -> None:
    seen: list[tuple[int, int]] = []
    steps = Steps(3, 10, lambda *step: seen.append(step))
    steps.advance(4)
    steps.finish(1, 2)
    steps.each = 5
    steps.advance(5)
    steps.finish(1, 1)
    steps.end()
    assert seen == [(4, 30), (10, 30), (15, 20), (15, 15)]


def test_progress_ends_where_the_last_image_cannot_be_read(tiny: Model, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    seen: list[tuple[int, int]] = []
    found = ATTRIBUTIONS["saliency"](tiny, tmp_path, progress=lambda *step: seen.append(step))
    assert found.names == (str(tmp_path / "a.png"),)
    assert seen[-1] == (1, 1)


def test_a_formula_with_maps_of_another_shape_is_told_which_is_wanted(tiny: Model) -> None:
    run = Run("method", tiny, torch.randn(2, 3, 16, 16), target=0)
    with pytest.raises(ValueError, match=r"method made maps \(1, 2, 3, 16, 16\); expected \(1, 2, 16, 16\)"):
        run.by_batch(lambda batch: batch.gradients())
