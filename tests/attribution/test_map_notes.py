"""Notes where a map is no more than the rounding of scores."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope import Several, kernel_shap, occlusion, rise
from convscope.attribution.map_notes import note_on_rounding

EPS = 2.0**-23  # of float32


@pytest.mark.parametrize(("roundings", "says"), [(0, False), (1, True), (7, True), (9, False), (1e6, False)])
def test_differences_within_a_few_roundings_of_the_score_are_nothing(roundings: float, says: bool) -> None:
    values = torch.tensor([[0.0], [-roundings * EPS * 3.0]])
    note = note_on_rounding(torch.float32, torch.tensor([-3.0]), values)
    assert (note is not None) == says
    if note:
        assert note.startswith("scores up to 3 differ by at most ")
        assert "nothing was found beyond rounding" in note


def test_each_target_is_judged_by_its_own_scores() -> None:
    small = torch.tensor([[1e-5, 5.0]])  # of scores 1e-5 and 100
    assert note_on_rounding(torch.float32, torch.tensor([1e-5, 100.0]), small) is None
    note = note_on_rounding(torch.float32, torch.tensor([100.0, 1e-5]), small.flip(1) * torch.tensor([1e-6, 1.0]))
    assert note is not None
    assert note.startswith("scores up to 100 ")
    every = torch.tensor([[0.5], [200.0]])  # the largest of those that were compared
    assert note_on_rounding(torch.float32, every, torch.tensor([[20 * EPS * 0.5], [0.0]])) is not None


def test_in_half_precision_more_roundings_are_doubtful_and_float64_has_finer_ones() -> None:
    scores, values = torch.tensor([2.0]), torch.tensor([[100 * 2.0**-10 * 2]])
    note = note_on_rounding(torch.float16, scores, values)
    assert note is not None
    assert "run the network in float32" in note
    assert note_on_rounding(torch.float16, scores, 3 * values) is None
    assert note_on_rounding(torch.float64, scores, torch.tensor([[EPS]])) is None


class Nearly(nn.Module):
    """Two scores that are 1024 and so many roundings of it times the first pixel, exactly."""

    def __init__(self, *roundings: float) -> None:
        super().__init__()
        self.register_buffer("step", torch.tensor(roundings) * 2.0**-13)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1024 + x[:, 0, :1, 0].round() * self.step


@pytest.mark.parametrize(("roundings", "n_notes"), [((1.0, 2.0), 1), ((64.0, 128.0), 0)])
def test_maps_of_differences_of_scores_have_the_note(roundings: tuple[float, float], n_notes: int) -> None:
    net, x = Nearly(*roundings), torch.full((1, 1, 8, 8), 5.0)
    makers = {
        "occlusion": lambda: occlusion(net, x, target=Several(0, 1), window=4, stride=4, baseline=0.0),
        "rise": lambda: rise(net, x, target=Several(0, 1), n_masks=16, cells=2, baseline=0.0),
        "kernel_shap": lambda: kernel_shap(net, x, target=Several(0, 1), superpixel=4, baseline=0.0),
    }
    for name, make in makers.items():
        found = make()
        assert found.values.any(), name
        notes = [note for note in found.provenance.notes if "nothing was found beyond rounding" in note]
        assert len(notes) == n_notes, name
