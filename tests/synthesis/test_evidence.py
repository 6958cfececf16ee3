"""The evidence of a picture is what networks say of the file."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convscope import Interrupted, Model, Visualization, load_model, visualize
from convscope.results import Array, Judgment

NET = load_model("torchvision:resnet18", pretrained=False, device="cpu", input_size=(32, 32), mean=[0.5] * 3,
                 std=[0.25] * 3)  # fmt: skip


@pytest.mark.slow
def test_evidence_is_the_prediction_of_the_saved_picture_by_the_network_and_its_judge(tmp_path: Path) -> None:
    judge = copy.copy(NET)
    judge.module, judge.name = copy.deepcopy(NET.module), "judge"
    with torch.no_grad():
        judge.module.fc.bias.normal_(std=5.0)
    found = visualize(NET, "espresso", n_steps=2, judge=judge)
    Image.fromarray(found.image).save(tmp_path / "a.png")
    for one, network in zip(found.evidence, (NET, judge), strict=True):
        prediction = network.predict(tmp_path / "a.png")
        (best,) = prediction.top(1)[0]
        target = float(prediction.probabilities[0, prediction.labels.index("espresso")])
        assert one == Judgment(network.name, best.label, best.probability, target)
        assert one.is_target == (best.label == "espresso")
        assert str(one) in found.trust
    again = Visualization.load(found.save(tmp_path / "saved"))
    assert again.evidence == found.evidence


@pytest.mark.slow
def test_the_agreement_of_four_seeds_is_the_mean_cosine_of_their_features() -> None:
    found = visualize(NET, 1, n_steps=1, check_seeds=True)
    pictures = [visualize(NET, 1, n_steps=1, seed=s).input for s in range(4)]
    with torch.no_grad():
        network = torch.nn.Sequential(*list(copy.deepcopy(NET.module).eval().children())[:-1])
        vectors = network(torch.tensor(np.stack(pictures))).flatten(1).double()
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    cosines = (unit @ unit.T)[torch.triu(torch.ones(4, 4), 1).bool()]
    assert found.agreement == pytest.approx(float(cosines.mean()), abs=1e-4)
    assert f"{found.agreement:.2f}" in found.trust


@pytest.mark.slow
def test_watching_sees_every_picture_with_its_score_and_may_stop() -> None:
    seen: list[tuple[int, tuple[int, ...], float]] = []

    def watch(done: int, picture: Array, score: float) -> None:
        seen.append((done, picture.shape, score))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        visualize(NET, 0, n_steps=9, watch=watch)
    assert [done for done, _, _ in seen] == [0, 1, 2, 3]
    assert {shape for _, shape, _ in seen} == {caught.value.result.image.shape}
    assert [score for _, _, score in seen[1:]] == caught.value.result.scores[:3].tolist()


def test_four_channels_and_other_sizes_have_a_picture_and_no_evidence() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(4, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    found = visualize(Model(net, (9, 13), [0.3] * 4, [0.2] * 4), 1, n_steps=6)
    assert found.image.shape == (9, 13, 3)
    assert found.input.shape == (4, 9, 13)
    assert found.evidence == ()
    assert found.scores[-1] > found.scores[0]
