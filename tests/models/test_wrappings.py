"""Checkpoints with several sets of weights: the network's own is taken, and said, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from convscope import ModelError
from convscope.models.wrappings import weights_in

from .test_checkpoints import State, assert_weights, loaded, network


def below(prefix: str, state: State) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


def classes(n: int, seed: int) -> State:
    torch.manual_seed(seed)
    return dict(timm.create_model("test_resnet", num_classes=n).state_dict())


def headless(state: State) -> State:
    return {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}


A = classes(5, 2)  # beside B, which the network should get
B = classes(5, 1)
SEVERAL: dict[str, tuple[dict[str, Any], str, str]] = {  # the file, what is taken, what is not
    "a teacher's first": ({**below("teacher.", A), **below("student.", B)}, "'student'", "'teacher'"),
    "keys before queries": ({**below("encoder_k.", A), **below("encoder_q.", B)}, "'encoder_q'", "'encoder_k'"),
    "an average's first": (
        {"state_dict": {**below("ema_model.", A), **below("model.", B)}},
        "'state_dict.model'",
        "'state_dict.ema_model'",
    ),
    "of its own names": ({**below("teacher.", A), **B}, "the top level", "'teacher'"),
    "compiled": ({**below("ema._orig_mod.", A), **below("_orig_mod.", B)}, "'_orig_mod'", "'ema._orig_mod'"),
    "as many classes as published": (
        {"pretrained_init": classes(1000, 2), "model": B},
        "'model'",
        "'pretrained_init'",
    ),
    "a teacher of other classes": ({"teacher": classes(1000, 2), "student": B}, "'student'", "'teacher'"),
    "initial ones": ({"initial": A, "model": B}, "'model'", "'initial'"),
    "averages of the optimizer": ({"exp_avg": A, "model": B}, "'model'", "'exp_avg'"),
    "in camel case": ({"modelEMA": A, "stateDict": B}, "'stateDict'", "'modelEMA'"),
    "semantic is no EMA": ({"some": {"old": A}, "semantic": B}, "'semantic'", "'some.old'"),
    "an average before the unknown": ({"semantic": A, "ema": B}, "'ema'", "'semantic'"),
    "without a classifier": ({"backbone": headless(A), "model": B}, "'model'", "'backbone'"),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_of_several_sets_what_was_trained_is_taken_in_whatever_order(tmp_path: Path, name: str) -> None:
    content, taken, other = SEVERAL[name]
    for order in (content, dict(reversed(content.items()))):
        torch.save(order, tmp_path / "w.pth")
        model = loaded(tmp_path / "w.pth")
        assert_weights(model, network())
        assert model.notes == (
            f"w.pth holds several sets of weights: those in {taken} were taken, not those in {other}",
        )


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"model": A, "net": B}, "'net', 'model'"),
        ({"net": headless(A), "model": headless(B)}, "'net', 'model'"),
        ({**below("net1.", A), **below("net2.", B)}, "'net1', 'net2'"),
        ({**below("_orig_mod.", A), **B}, "the top level, '_orig_mod'"),
        ({"fold": {"a": A, "b": classes(7, 2)}}, "'fold.a', 'fold.b'"),
        ({"net": {k: t for k, t in A.items() if "num_batches" not in k}, "model": B}, "'net', 'model'"),
    ],
    ids=["nested", "headless", "flat", "compiled", "classes", "counters"],
)
def test_of_sets_that_nothing_tells_apart_none_is_taken(tmp_path: Path, content: Any, named: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=rf"fit equally well, in {named}; save the one you mean"):
        loaded(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "content",
    [
        {"model": B, "net": {key: tensor.clone() for key, tensor in B.items()}},
        {**B, **below("_orig_mod.", B)},
        {"model": B, "backbone": headless(B)},
        {"optimizer": {"exp_avg": A}, "model": B},
        {"grads": A, "state_dict": B},
    ],
    ids=["twice", "twice compiled", "a part again", "optimizer", "gradients"],
)
def test_equal_sets_are_one_and_gradients_are_none(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pth")
    model = loaded(tmp_path / "w.pth")
    assert_weights(model, network())
    assert not model.notes


def test_no_other_set_stands_in_for_one_without_its_classifier(tmp_path: Path) -> None:
    torch.save({"model": headless(B), "old": A}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"those in 'model'\): .*missing: fc\.weight, fc\.bias\)"):
        loaded(tmp_path / "w.pth")


def test_no_other_set_stands_in_for_one_of_another_network(tmp_path: Path) -> None:
    torch.save({"optimizer": {"exp_avg": A}, "model": {"conv.weight": torch.zeros(2)}}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"another network .*unknown: conv\.weight"):
        loaded(tmp_path / "w.pth")
    torch.save({"grads": A}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="no state dict"):
        loaded(tmp_path / "w.pth")


def test_a_larger_network_of_the_same_names_is_another_one(tmp_path: Path) -> None:
    torch.save({"model": {**B, "layer4.1.conv1.weight": torch.zeros(2)}, "old": A}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"another network \(unknown: layer4\.1\.conv1\.weight\)"):
        loaded(tmp_path / "w.pth")


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    decoder = {f"decoder.{n}.weight": torch.zeros(2) for n in range(12)}
    for content in ({**below("encoder.", B), **decoder}, {"teacher": B, "decoder": decoder}):
        torch.save(content, tmp_path / "w.pth")
        model = loaded(tmp_path / "w.pth")
        assert_weights(model, network())
        assert model.notes[-1] == "12 other tensors in w.pth are not of this network"
    assert model.notes[0] == "w.pth holds weights that fit only in 'teacher'; these were taken"


def test_two_tensors_for_one_name_are_refused(tmp_path: Path) -> None:
    key = "layer1.0.conv1.weight"
    torch.save({**B, "layer1._orig_mod.0.conv1.weight": A[key]}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=f"two tensors for {key}"):
        loaded(tmp_path / "w.pth")


def test_auxiliary_classifiers_have_the_classes_of_the_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=5, depth=1)
    torch.save({"old": A, "model": expected.state_dict()}, tmp_path / "w.pth")
    with torch.no_grad():
        found = weights_in(
            torch.load(tmp_path / "w.pth"),
            timm.create_model("deit_tiny_distilled_patch16_224", depth=1).state_dict(),
            "w.pth",
        )
    assert found.place == "'model'"
    assert found.tensors["head_dist.weight"].shape[0] == 5


@pytest.mark.parametrize(("plain", "other"), [("model", "model_ema"), ("state_dict", "state_dict_ema")])
def test_of_several_sets_the_one_that_was_taken_is_named(tmp_path: Path, plain: str, other: str) -> None:
    expected = network()
    torch.save({other: network(2).state_dict(), plain: expected.state_dict()}, tmp_path / "w.pth")
    model = loaded(tmp_path / "w.pth")
    assert_weights(model, expected)
    (note,) = model.predict(torch.zeros(1, 3, 64, 64)).provenance.notes
    assert note == f"w.pth holds several sets of weights: those in {plain!r} were taken, not those in {other!r}"
