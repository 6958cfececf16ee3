"""Feature visualization: the formula, the targets, and that the objective rises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from tests.conftest import tiny_network
from torch import nn

from convscope import Interrupted, LayerError, ModelError, ParameterError, Several, TargetError, visualize
from convscope.models import Model
from convscope.synthesis import PRESETS
from convscope.synthesis.ascent import Ascent

PLAIN = {"preset": "plain"}


def test_converges_to_the_analytic_optimum_of_a_linear_network() -> None:
    """argmax of w·I - l2 ||I||^2 is w / (2 l2).

    Adam's steps do not shrink by themselves: it ends on a path around the optimum that is narrower than one step
    (0.2 of it, on any rounding). So smaller steps have to end nearer, each time from where the larger ones ended.
    """
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 2, bias=False))
    expected = net[1].weight.detach()[1].reshape(3, 4, 4)
    start: str | torch.Tensor = "zero"
    for step in (1e-2, 1e-3, 1e-4):
        preset = replace(PRESETS["plain"], step_size=step, l2=0.5)
        found = visualize(net, 1, size_px=None if step < 1e-2 else 4, n_steps=300, start=start, preset=preset)
        start = torch.tensor(found.input)[None]
        torch.testing.assert_close(start[0], expected, rtol=0, atol=step)
        assert found.scores[-1] == pytest.approx(
            float(expected.square().sum()), abs=step * float(expected.abs().sum())
        )


def test_starts_from_zero_and_the_first_score_is_that_of_the_zero_image(tiny: Model) -> None:
    found = visualize(tiny, target=2, n_steps=3, preset="plain")
    with torch.no_grad():
        assert found.scores[0] == pytest.approx(float(tiny.module(torch.zeros(1, 3, 16, 16))[0, 2]), abs=1e-6)
        assert found.scores[-1] == pytest.approx(
            float(tiny.module(torch.tensor(found.input)[None])[0, 2]), abs=1e-5
        )
    assert found.scores.shape == (4,)


@pytest.mark.slow
def test_the_score_rises_on_the_real_network(lite0: Model) -> None:
    found = visualize(lite0, target="daisy", n_steps=12)
    assert found.scores[-1] > found.scores[0] + 3
    assert found.target == "daisy"
    assert found.image.shape == (256, 256, 3)
    assert found.input.shape == (3, 224, 224)
    (own,) = found.evidence
    (best,) = lite0.predict(found.image).top(1)[0]
    assert own[1:3] == (best.label, best.probability)


def test_the_penalty_keeps_the_picture_small(tiny: Model) -> None:
    norms = [
        np.square(visualize(tiny, target=0, n_steps=40, l2=l2, **PLAIN).input).sum() for l2 in (0.0, 1e-3, 1e-1)
    ]
    assert norms[0] > norms[1] > norms[2]


def test_pixels_stay_between_black_and_white(tiny: Model) -> None:
    found = visualize(tiny, target=0, n_steps=20, preset=replace(PRESETS["plain"], step_size=5.0))
    assert found.input.min() >= -2 - 1e-6  # (0 - 0.5) / 0.25
    assert found.input.max() <= 2 + 1e-6


@pytest.mark.parametrize(
    ("target", "name"), [(None, "0"), (2, "0, channel 2"), ((2, 5, 9), "0, channel 2, unit (5, 9)")]
)
def test_a_layer_a_channel_or_a_unit_can_be_the_target(tiny: Model, target: object, name: str) -> None:
    found = visualize(tiny, target=target, layer="0", n_steps=1, **PLAIN)  # type: ignore[arg-type]
    assert found.target == name
    with torch.no_grad():
        maps = tiny.module[0](torch.tensor(found.input)[None])[0]
    expected = {None: maps.square().mean(), 2: maps[2].mean()}.get(target, maps[2, 5, 9])  # type: ignore[call-overload]
    assert found.scores[-1] == pytest.approx(float(expected), abs=1e-5)


def test_a_unit_changes_only_what_it_sees(tiny: Model) -> None:
    found = visualize(tiny, target=(1, 8, 8), layer="0", n_steps=5, **PLAIN)
    changed = np.argwhere(np.abs(found.input).max(axis=0) > 0)
    assert changed.min(axis=0).tolist() == [7, 7]
    assert changed.max(axis=0).tolist() == [9, 9]


def test_the_forward_pass_stops_at_the_layer(tiny: Model) -> None:
    calls: list[int] = []
    tiny.layers()  # found by one whole run, before counting
    handle = tiny.module[3].register_forward_hook(lambda *_: calls.append(1))
    visualize(tiny, target=0, layer="1", n_steps=2)
    handle.remove()
    assert calls == []


def test_same_seed_same_picture_and_the_network_is_left_alone(tiny: Model) -> None:
    tiny.module.train()
    before = torch.get_rng_state()
    one, two, other = (visualize(tiny, target=0, n_steps=6, seed=s).input for s in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert tiny.module.training
    assert all(p.grad is None and p.requires_grad for p in tiny.module.parameters())


def test_starting_from_an_image(tiny: Model) -> None:
    white = np.full((16, 16, 3), 255, np.uint8)
    found = visualize(tiny, target=0, start=white, n_steps=1, preset=replace(PRESETS["plain"], step_size=0.0))
    assert np.array_equal(found.image, white)


def test_frames_are_spread_over_the_steps(tiny: Model) -> None:
    found = visualize(tiny, target=0, n_steps=10, n_frames=3, preset="plain")
    assert found.frames.shape == (3, 16, 16, 3)
    assert np.array_equal(found.frames[-1], found.image)
    assert len(np.unique(found.frames[0])) == 1  # the zero image


def test_all_frames_have_one_scale_where_a_network_states_none() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 1, bias=False))
    net[1].weight.data.copy_(torch.linspace(-1, 1, 48))
    recipe = replace(
        PRESETS["plain"], l2=0.0, step_size=1.0
    )  # Adam's step in every pixel, so that t steps are +-t
    found = visualize(net, 0, size_px=4, preset=recipe, n_steps=4, n_frames=5)
    spread = [int(frame.max()) - int(frame.min()) for frame in found.frames]
    assert spread == pytest.approx([0, 64, 128, 191, 255], abs=1)
    assert np.array_equal(found.frames[-1], found.image)


def test_interrupting_the_check_of_seeds_returns_the_finished_picture(
    tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, n_done = Ascent.step, 0

    def stopping(self: Ascent) -> None:
        nonlocal n_done
        if n_done == 4:  # in the second picture
            raise KeyboardInterrupt
        n_done += 1
        step(self)

    monkeypatch.setattr(Ascent, "step", stopping)
    with pytest.raises(Interrupted) as caught:
        visualize(tiny, target=0, n_steps=3, check_seeds=True)
    monkeypatch.undo()
    assert np.array_equal(caught.value.result.image, visualize(tiny, target=0, n_steps=3).image)


def test_interrupting_returns_the_picture_so_far(tiny: Model) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        visualize(tiny, target=0, n_steps=10, progress=stop)
    assert "interrupted after 4 of 10" in caught.value.result.provenance.notes[0]
    assert len(caught.value.result.scores) == 5


@pytest.mark.parametrize(
    ("target", "options", "error", "message"),
    [
        (None, {}, TargetError, "nothing to maximize"),
        ([0, 1], {}, TargetError, "one picture has one target"),
        (Several(0, 1), {}, TargetError, "one picture has one target"),
        (7, {}, TargetError, "classes 0 to 2"),
        (4, {"layer": "0"}, TargetError, r"the shape \(4, 16, 16\)"),
        ((0, 1), {"layer": "0"}, TargetError, "expected a channel"),
        ("b", {"layer": "0"}, TargetError, "expected a channel"),
        (0, {"layer": "nine"}, LayerError, "no layer 'nine'"),
        (0, {"n_steps": 0}, ParameterError, "n_steps=0"),
        (0, {"l2": -1.0}, ParameterError, "l2=-1"),
        (0, {"preset": "naturl"}, ParameterError, "natural"),
        (0, {"start": np.zeros((16, 16, 3), np.uint8), "size_px": 8}, ParameterError, "size_px"),
    ],
)
def test_bad_options_are_refused(
    tiny: Model, target: object, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        visualize(tiny, target=target, **options)  # type: ignore[arg-type]


def test_a_bare_module_needs_a_size() -> None:
    with pytest.raises(ParameterError, match="input size"):
        visualize(tiny_network(), target=0, n_steps=1)
    assert visualize(tiny_network(), target=0, n_steps=1, size_px=(8, 12)).image.shape == (8, 12, 3)


class Shut(nn.Module):
    """A ReLU that no input opens, or a score without a way back."""

    def __init__(self, detached: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.detached = detached

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = (self.weight * x.mean(dim=(1, 2, 3)) - 100).relu()[:, None]
        return score.detach() if self.detached else score


def test_a_score_that_no_pixel_changes_is_noted() -> None:
    (note,) = visualize(Shut(detached=False), target=0, size_px=4, n_steps=3, **PLAIN).provenance.notes
    assert note.startswith("the score stayed at 0")
    assert (
        visualize(
            nn.Sequential(nn.Flatten(), nn.Linear(48, 1)), target=0, size_px=4, n_steps=3, **PLAIN
        ).provenance.notes
        == ()
    )


def test_a_score_without_a_gradient_is_an_error() -> None:
    with pytest.raises(ModelError, match="has no gradient"):
        visualize(Shut(detached=True), target=0, size_px=4, n_steps=3)


def test_weights_made_in_inference_mode_are_an_error() -> None:
    with torch.inference_mode():
        net = Shut(detached=False)
    with pytest.raises(ModelError, match="inference_mode"):
        visualize(net, target=0, size_px=4, n_steps=3)


@pytest.mark.parametrize(
    "option",
    [{"size_px": -1}, {"size_px": "big"}, {"n_steps": 1.5}, {"n_frames": True}, {"seed": -1}],
)
def test_numbers_of_another_kind_are_errors(tiny: Model, option: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=next(iter(option))):
        visualize(tiny, target=0, **option)


def test_pictures_take_on_the_statistics_of_the_photos_given(tiny: Model) -> None:
    """The mean color is theirs, as no step is taken; and with "maco" the amplitudes of frequencies are, too."""
    photos = np.random.default_rng(0).integers(0, 255, (5, 16, 16, 3)).astype(np.uint8)
    photos[..., 2] //= 4  # hardly any blue
    still = replace(PRESETS["maco"], step_size=0.0, contrast=None, n_steps=1)
    found = visualize(tiny, 0, preset=still, photos=list(photos))
    assert_allclose(found.image.mean(axis=(0, 1)), photos.mean(axis=(0, 1, 2)), atol=12)
    built_in = visualize(tiny, 0, preset=still)

    def high(image: np.ndarray) -> float:  # the share of the finest frequencies, which noise has as much of
        power = np.abs(np.fft.fft2(image[..., 0].astype(float))) ** 2
        power[0, 0] = 0.0
        return float(power[5:12, 5:12].sum() / power.sum())

    assert high(found.image) > 2 * high(built_in.image)
    with pytest.raises(ParameterError, match="photos"):
        visualize(tiny, 0, preset="plain", photos=list(photos))
