"""`Model.summary`: its rows, what it detected, and its text; which methods fit is tested over the zoo."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.conftest import tiny_network, tiny_transformer
from tests.contracts.kinds import EVERY, wrapped
from torch import nn

from convscope import Model, ModelError, Result, Summary, grad_cam


def facts(model: Model, size: tuple[int, ...] = (16, 16)) -> dict[str, str]:
    return dict(model.summary(size).detected)


def test_the_rows_are_the_layers_of_the_network(tiny: Model) -> None:
    found = tiny.summary()
    assert [row.name for row in found.rows] == [layer.name for layer in tiny.layers()]
    assert found.n_parameters == sum(p.numel() for p in tiny.module.parameters()) == found.parameters.sum()
    assert found.n_macs == found.macs.sum() == 4 * 256 * 27 + 6 * 64 * 36 + 18
    assert found.rows[3]._asdict() == {
        "name": "3",
        "kind": "Conv2d",
        "shape": (6, 8, 8),
        "n_parameters": 6 * 4 * 9 + 6,
        "n_macs": 6 * 64 * 36,
        "receptive_field": (8, 8),
    }


def test_what_was_detected(tiny: Model) -> None:
    found = dict(tiny.summary().detected)
    assert found["input"] == "image of 3 channels, 16 x 16 pixels"
    assert found["preprocessing"].endswith("mean 0.5, 0.5, 0.5; std 0.25, 0.25, 0.25")
    assert found["output"] == "scores of 3 classes"
    assert found["labels"] == "3: a, b, c"
    assert found["target"] == "the predicted class, unless another is given"
    assert found["layer of CAMs"] == grad_cam(tiny, torch.zeros(1, 3, 16, 16)).provenance.parameters["layer"]
    assert found["embedding"] == "7:input, 6 values"
    assert "tokens" not in found


def test_other_outputs_are_told() -> None:
    assert "each right or not by itself" in facts(Model(tiny_network(), multilabel=True))["output"]
    assert "a single score" in facts(Model(tiny_network(n_classes=1)))["output"]
    ends = facts(Model(nn.Sequential(tiny_network(), nn.Softmax(1))))
    assert ends["scores"] == "ends in a softmax: scores are probabilities"
    maps = facts(Model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))))
    assert maps["output"] == "a map of 2 classes, 14 x 14"
    assert maps["target"].startswith("give Region(class), or Region.at((row, column))")


def test_a_dict_is_told_with_its_entries() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            maps = self.conv(x).relu()
            return {"maps": maps, "mean": maps.mean((2, 3))}

    found = facts(Model(Named()))
    assert found["output"] == "scores of 2 classes, at mean in dict of maps (1, 2, 14, 14), mean (1, 2)"
    assert found["target"] == "the predicted class, unless another is given"


# By the kind of network: the facts that a stranger needs.
TOLD: dict[str, dict[str, str]] = {
    '`target="up"`': {
        "output": "a single score, for one class or against it, read as a logit; if this is a value, say "
        "regression=True",
        "target": 'the score; for a value "up", "down" or Towards(value)',
    },
    "signals (N, C, L)": {
        "input": "signal of 2 channels, 32 steps",
        "preprocessing": "not known: only preprocessed tensors (N, 2, 32) are taken",
    },
    "volumes (N, C, D, H, W)": {"input": "volume or clip of 1 channel, 8 x 8 x 10 voxels"},
    "an image and metadata, held": {
        "input": "image of 3 channels, 16 x 16 pixels",
        "other inputs": "meta (4,): held as given; a dict or tuple of all explains them too",
        "output": "scores of 3 classes",
    },
    "a dataclass (`ModelOutput`)": {
        "output": "scores of 3 classes, at logits in Output of logits (1, 3), hidden_states (tuple of 0)"
    },
    "torchvision's (lists of boxes)": {
        "output": "a list with, for each image, a dict of boxes, labels, scores",
        "target": "give Detection(box, class), read as 'torchvision': a list of dicts: boxes, labels, scores",
    },
    "YOLO-like (N, A, 4 + K)": {
        "target": "if these are boxes, give Detection(box, class, read=...), with read='yolov8' for "
        "(N, 4 + K, A), 'yolov8_rows' for (N, A, 4 + K), 'yolov5' for (N, A, 5 + K); if not, a callable"
    },
    "FCOS's head": {
        "target": "give Detection(box, class), read as 'fcos': cls_logits, bbox_regression, "
        "bbox_ctrness and anchors"
    },
    "instances": {"target": "give Region(class), for its instances"},
    "similar to a vector": {
        "output": "a feature vector of 5 numbers",
        "target": "give SimilarTo(image) or SimilarTo(vector), as there are no classes",
        "labels": "none, as the network has no classes",
        "embedding": ":output, 5 values",
    },
    "timm's ViT with registers, any input size": {"tokens": "4 x 6 patches after 3 other"},
    "images of a batch mixed (LSTM)": {
        "batches": "Recurrent gives an image other scores when other images are in the batch (batch statistics? "
        "batch and time axes swapped?), so it was run one image at a time"
    },
}


@pytest.mark.parametrize("name", TOLD)
def test_a_stranger_is_told_what_goes_in_what_comes_out_and_what_to_ask_for(name: str) -> None:
    (kind,) = (kind for kind in EVERY if kind.name == name)
    found = facts(wrapped(kind), kind.shape[1:])
    assert {key: found[key] for key in TOLD[name]} == TOLD[name]
    is_of_scores = "target" not in TOLD[name] or name == '`target="up"`'
    assert ("scores" in found) == is_of_scores  # nothing is said of logits where there are no class scores


def test_tokens_are_told_with_their_grid() -> None:
    found = facts(Model(tiny_transformer()))
    assert found["tokens"] == "4 x 4 patches after 1 other"


def test_methods_that_do_less_than_they_promise_have_a_remark() -> None:
    net = tiny_network()
    net[1], net[4] = nn.GELU(), nn.GELU()
    fits = dict(Model(net).summary((16, 16)).fits)
    assert fits["guided_backprop"] == "the network has no ReLU, so this is its plain gradient"
    assert fits["saliency"] == ""


def test_a_network_that_cannot_be_explained_is_refused() -> None:
    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(x, 0.5).mean((2, 3))

    with pytest.raises(ModelError, match="gives other scores when it is run again"):
        Model(Noisy()).summary((8, 8))


def test_progress_counts_the_methods(tiny: Model) -> None:
    seen: list[tuple[int, int]] = []
    tiny.summary(progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))


def test_it_is_saved_and_read_back(tiny: Model, tmp_path: Path) -> None:
    found = tiny.summary()
    found.save(tmp_path / "summary")
    again = Result.load(tmp_path / "summary")
    assert isinstance(again, Summary)
    assert again.text() == found.text()
    assert again.rows == found.rows


@pytest.mark.parametrize(
    ("n_values", "output", "target"),
    [
        (1, "1 value", 'the value, "up"; or "down" or Towards(value)'),
        (2, "2 values", "give an index or a label, which is up for that value, or Towards(value, column=...)"),
    ],
)
def test_values_are_told_as_values(n_values: int, output: str, target: str) -> None:
    found = facts(Model(tiny_network(n_classes=n_values), regression=True))
    assert found["output"] == output
    assert found["scores"] == "values in a unit of their own, as regression=True says; they have no probabilities"
    assert found["labels"] == "none: values are named by their index"
    assert found["target"] == target
