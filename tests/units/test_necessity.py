"""What is lost without a channel, against hooks by hand, and networks whose channels are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convscope import Interrupted, LayerError, Model, Necessity, ParameterError, TargetError, necessity

PATCH = torch.tensor([[1.0, -1, 1], [-1, 1, -1], [1, -1, 1]])


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


def by_hand(module: nn.Module, x: torch.Tensor, layer: str, channel: int, axis: int = 1) -> tuple[Any, Any, float]:
    """The scores with and without a channel, whose mean is taken and set by hooks, in one batch."""
    seen: list[torch.Tensor] = []
    child = module.eval().get_submodule(layer)
    index: list[Any] = [slice(None)] * 4
    index[axis] = channel
    with torch.no_grad():
        hook = child.register_forward_hook(lambda _, __, out: seen.append(out.clone()))
        before = module(x)
        hook.remove()
        at = tuple(index[: seen[0].ndim])
        mean = seen[0][at].mean()

        def held(_: nn.Module, __: Any, out: torch.Tensor) -> torch.Tensor:
            out = out.clone()
            out[at] = mean
            return out

        hook = child.register_forward_hook(held)
        after = module(x)
        hook.remove()
    return before, after, float(mean)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.inner, self.last = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        return self.last((x + self.inner(x)).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("module", "layer"),
    [(network(), "0"), (network(), "2"), (network(), "4"), (network(), "6"), (Residual(), "inner")],
)
def test_effects_and_accuracy_are_those_of_a_hook_by_hand(module: nn.Module, layer: str) -> None:
    x = torch.randn(70, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = [None if i % 7 == 0 else i % 3 for i in range(70)]
    known = torch.tensor([label is not None for label in labels])
    own = torch.tensor([label or 0 for label in labels])
    found = necessity(module, x, layer=layer, channels=[3, 1], labels=labels)
    for row, channel in enumerate((3, 1)):
        before, after, mean = by_hand(module, x, layer, channel)
        assert found.means[row] == pytest.approx(mean, rel=1e-5, abs=1e-6)
        right, right_after = ((scores.argmax(dim=1) == own)[known] for scores in (before, after))
        assert found.accuracy == pytest.approx(float(right.double().mean()))
        assert found.accuracy_without[row] == pytest.approx(float(right_after.double().mean()))
        for code in range(3):
            there = known & (own == code)
            assert found.counts[code] == there.sum()
            fall = float((before - after)[there, code].mean())
            assert found.effects[row, code] == pytest.approx(fall, rel=1e-4, abs=1e-6)
            assert found.right_without[row, code] == (after.argmax(dim=1) == code)[there].sum()


def test_all_channels_by_default_are_each_taken_out_alone() -> None:
    x = torch.randn(9, 2, 8, 8)
    found = necessity(network(), x, layer="2")
    assert found.channels.tolist() == [0, 1, 2, 3, 4]
    alone = necessity(network(), x, layer="2", channels=4)
    np.testing.assert_allclose(found.effects[4], alone.effects[0], rtol=1e-4, atol=1e-7)


def test_without_labels_the_predictions_stand_in_for_them() -> None:
    module, x = network(), torch.randn(30, 2, 8, 8, generator=torch.Generator().manual_seed(5))
    found = necessity(module, x, layer="2", channels=3)
    before, after, _ = by_hand(module, x, "2", 3)
    own = before.argmax(dim=1)
    assert (found.by, found.accuracy) == ("predictions", 1)
    assert found.classes == tuple(f"class {code}" for code in own.unique())
    falls = [float((before - after)[own == code, code].mean()) for code in own.unique()]
    np.testing.assert_allclose(found.effects[0], falls, rtol=1e-4, atol=1e-6)
    assert found.accuracy_without[0] == pytest.approx(float((after.argmax(dim=1) == own).double().mean()))


def test_tokens_that_stand_for_no_patch_stay() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, depth=3, embed_dim=24, num_heads=2, num_classes=4
    ).eval()
    x = torch.randn(5, 3, 64, 64)
    seen: list[torch.Tensor] = []
    hook = vit.blocks[1].register_forward_hook(lambda _, __, out: seen.append(out.clone()))
    with torch.no_grad():
        before = vit(x)
        hook.remove()
        mean = seen[0][:, 1:, 7].mean()

        def held(_: nn.Module, __: Any, out: torch.Tensor) -> torch.Tensor:
            out = out.clone()
            out[:, 1:, 7] = mean
            return out

        hook = vit.blocks[1].register_forward_hook(held)
        after = vit(x)
        hook.remove()
    found = necessity(vit, x, layer="blocks.1", channels=7)
    own = before.argmax(dim=1)
    falls = [float((before - after)[own == code, code].mean()) for code in own.unique()]
    np.testing.assert_allclose(found.effects[0], falls, rtol=1e-3, atol=1e-6)


def test_a_dead_channel_changes_nothing_at_all() -> None:
    module = network()
    with torch.no_grad():
        module[1].weight[2], module[1].bias[2] = 0, -1
    found = necessity(module, torch.randn(8, 2, 8, 8), layer="2", labels=[0, 1] * 4)
    row = found.row(2)
    assert found.means[row] == 0
    assert not found.effects[row].any()
    assert found.accuracy_without[row] == found.accuracy
    assert np.abs(np.delete(found.effects, row, axis=0)).max(axis=1).all()


def test_without_the_planted_detector_its_class_is_lost() -> None:
    conv, last = nn.Conv2d(1, 3, 3, padding=1), nn.Linear(3, 2)
    torch.manual_seed(0)
    with torch.no_grad():
        conv.weight[1, 0], conv.bias[1] = PATCH, -6  # fires where the patch is
        last.weight.copy_(torch.tensor([[0.0, 0, 0], [0, 1, 0]]))
        last.bias.copy_(torch.tensor([0.5, 0]))
    module = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), last)
    x = 0.1 * torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x[10:, 0, 2:5, 3:6] = PATCH
    names = ["plain", "patch"]
    labels = ["plain"] * 10 + ["patch"] * 30
    model = Model(module, labels=names)
    found = necessity(model, x, layer="1", labels=labels)
    assert found.accuracy == 1
    assert found.classes == ("plain", "patch")
    row = found.row(1)
    assert found.right_without[row].tolist() == [10, 0]  # its mean over all places is far below 0.5
    assert found.effects[row, 1] > 2
    assert found.top(1, 1)[0].label == "patch"
    others = [found.row(0), found.row(2)]
    assert (found.accuracy_without[others] == 1).all()
    assert "without 1: patch" in repr(found)
    assert "100.0% to 25.0%" in repr(found)


def test_labels_that_images_bring_count_as_far_as_they_are_classes(tmp_path: Any) -> None:
    from PIL import Image

    for i, label in enumerate(("cat", "dog", "cat", "tree")):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.new("L", (8, 8), 40 * i).save(tmp_path / label / f"{i}.png")
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
    model = Model(module, input_size=(8, 8), mean=[0.5], std=[0.5], labels=["dog", "cat"])
    found = necessity(model, tmp_path, layer="1", channels=0)
    assert found.classes == ("dog", "cat")
    assert found.counts.tolist() == [1, 2]
    assert any("tree" in note for note in found.provenance.notes)


def test_mistakes_are_named() -> None:
    x = torch.randn(4, 2, 8, 8)
    with pytest.raises(ParameterError, match="from 0 to 4"):
        necessity(network(), x, layer="2", channels=[5])
    with pytest.raises(ParameterError, match="from 0 to 4"):
        necessity(network(), x, layer="2", channels=[])
    with pytest.raises(ParameterError, match="2 for 4 images"):
        necessity(network(), x, layer="2", labels=[0, 1])
    with pytest.raises(TargetError, match="classes 0 to 2"):
        necessity(network(), x, layer="2", labels=[0, 1, 3, 0])
    with pytest.raises(TargetError, match="no labels"):
        necessity(network(), x, layer="2", labels=["cat"] * 4)
    with pytest.raises(LayerError, match="no output of a module"):
        necessity(network(), x, layer=":output")


def test_ctrl_c_gives_what_was_done_and_the_network_is_left_as_it_was() -> None:
    module, x = network().train(), torch.randn(6, 2, 8, 8)
    kept = x.clone()

    def stop(done: int, total: int) -> None:
        if done > 6:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        necessity(module, x, layer="2", channels=0, progress=stop)
    found: Necessity = caught.value.result
    assert any("interrupted after" in note for note in found.provenance.notes)
    assert module.training
    assert torch.equal(x, kept)
    assert not any(child._forward_hooks for child in module.modules())
