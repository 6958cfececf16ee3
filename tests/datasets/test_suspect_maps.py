"""Maps of suspects: on a network that sees the colors of patches, they light the patch that gives the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convscope import (
    Attribution,
    EmbeddingStore,
    ImageError,
    Model,
    ParameterError,
    SimilarTo,
    StoreError,
    Suspects,
    embed,
    grad_cam,
    occlusion,
    suspect_maps,
    suspects,
)
from convscope.datasets.suspect_maps import maps_of_suspects
from convscope.results import Array

COLORS = ("red", "green", "blue")
LARGE, SMALL = np.s_[4:20, 4:20], np.s_[22:30, 22:30]  # of images with a small patch in the color of their folder


def network(*pooling: nn.Module) -> Model:
    """A channel for each color, their means over all places, and a class for each."""
    inputs = 3 if pooling else 3 * 32 * 32
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), *pooling, nn.Flatten(), nn.Linear(inputs, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3)[..., None, None])  # type: ignore[operator, union-attr]
        net[0].bias.zero_()  # type: ignore[operator, union-attr]
        if pooling:
            net[-1].weight.copy_(20 * torch.eye(3))  # type: ignore[operator, union-attr]
    return Model(net, input_size=(32, 32), mean=[0.0] * 3, std=[1.0] * 3, labels=COLORS)


@pytest.fixture
def model() -> Model:
    return network(nn.AdaptiveAvgPool2d(1))


def write(path: Path, pixels: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def folder(place: Path, names: tuple[str, ...]) -> Path:
    """Dark images with a patch in the color of their folder; in the first also one for each other color."""
    rng = np.random.default_rng(0)
    for color, name in enumerate(names):
        for i in range(8):
            pixels = rng.integers(0, 20, (32, 32, 3))
            top, left = rng.integers(0, 16, 2)
            pixels[top : top + 16, left : left + 16, color] = 200 + i
            write(place / name / f"{i}.png", pixels)
    for color in (1, 2):
        pixels = rng.integers(0, 20, (32, 32, 3))
        pixels[(*LARGE, color)] = 220
        pixels[(*SMALL, 0)] = 200
        write(place / names[0] / f"in fact {names[color]}.png", pixels)
    return place


def found_in(model: Model, tmp_path: Path, names: tuple[str, ...] = ("x", "y", "z"), **options: str) -> Suspects:
    store = embed(model, folder(tmp_path / "photos", names), store=tmp_path / "s.lance")
    return suspects(store, k=5, **options)  # type: ignore[arg-type]


def right_labels(made: Attribution) -> list[str]:
    """What the images are in fact; two images are wrong, and no others."""
    labels = [Path(name).stem.removeprefix("in fact ") for name in made.names]
    assert len(set(labels)) == len(labels) == 2
    return labels


def test_of_classes_the_patch_of_the_suggestion_is_red_and_that_of_the_label_blue(
    model: Model, tmp_path: Path
) -> None:
    made = suspect_maps(model, found_in(model, tmp_path, COLORS))
    assert list(made.targets) == [f"{label} rather than red" for label in right_labels(made)]
    outside = np.ones((32, 32), bool)
    outside[LARGE] = outside[SMALL] = False
    for values in made.values:
        assert values[SMALL].max() < 0 < values[LARGE].min()
        assert np.abs(values[outside]).max() < 0.2 * values[LARGE].min()


def test_of_other_labels_the_patch_that_the_nearest_has_is_lit(model: Model, tmp_path: Path) -> None:
    found = found_in(model, tmp_path)
    made = suspect_maps(model, found)
    labels = right_labels(made)
    assert made.provenance.method == "grad_cam"
    vectors = embed(model, tmp_path / "photos")
    row = dict(zip(vectors.names, vectors.vectors, strict=True))
    for i, (name, values) in enumerate(zip(made.names, made.values, strict=True)):
        assert values[LARGE].min() > 3 * values[SMALL].max() > 0
        nearest = found.near_names[found.near[found.names.index(name), 0]]
        assert Path(nearest).parent.name == labels[i]
        own, other = row[name], row[nearest]
        cosine = own @ other / np.linalg.norm(own) / np.linalg.norm(other)
        assert made.scores[i] == pytest.approx(cosine, rel=1e-5)
        assert values.sum() == pytest.approx(cosine, rel=1e-4), "the map divides the similarity"
        assert made.targets[i] == f"similarity to {Path(nearest).name}"


@pytest.mark.parametrize("names", [COLORS, ("x", "y", "z")])
def test_files_that_were_replaced_since_are_named(model: Model, tmp_path: Path, names: tuple[str, ...]) -> None:
    found = found_in(model, tmp_path, names)
    assert not any("changed since" in note for note in suspect_maps(model, found).provenance.notes)
    first, second = (Path(name) for name in suspect_maps(model, found).names)
    old = first.read_bytes()
    first.write_bytes(second.read_bytes())
    (note,) = [note for note in suspect_maps(model, found).provenance.notes if "changed since" in note]
    assert "1 file changed" in note
    assert first.name in note
    first.write_bytes(old)
    if names != COLORS:
        near = Path(found.near_names[found.near[0, 0]])
        write(near, np.full((32, 32, 3), 128))
        (note,) = [note for note in suspect_maps(model, found).provenance.notes if "changed since" in note]
        assert near.name in note


def test_where_vectors_are_no_means_over_places_windows_are_hidden(tmp_path: Path) -> None:
    model = network()
    found = found_in(model, tmp_path)
    made = suspect_maps(model, found, limit=1)
    assert made.provenance.method == "occlusion"
    i = found.names.index(made.names[0])
    nearest = next(found.near_names[j] for j in found.near[i] if found.near_labels[j] == found.suggested[i])
    expected = occlusion(model, made.names[0], target=SimilarTo(nearest))
    np.testing.assert_allclose(made.values, expected.values, atol=1e-5)
    with pytest.raises(ImageError, match="no map"):
        maps_of_suspects(model, found, 1, None, occludes=False)


def test_vectors_of_a_map_are_compared_by_its_means(model: Model, tmp_path: Path) -> None:
    store = embed(model, folder(tmp_path / "photos", ("x", "y", "z")), store=tmp_path / "s.lance", layer="0")
    made = suspect_maps(model, suspects(store, k=5))
    assert len(right_labels(made)) == 2
    np.testing.assert_allclose(made.values.sum(axis=(1, 2)), made.scores, rtol=1e-4)


def test_undecided_images_have_a_map_of_their_predicted_class(model: Model, tmp_path: Path) -> None:
    found = found_in(model, tmp_path, kind="uncertain")
    made = suspect_maps(model, found, limit=3)
    assert made.names == found.names[:3]
    np.testing.assert_array_equal(made.values, grad_cam(model, list(found.names[:3])).values)


def test_those_that_cannot_be_read_are_left_out_and_the_others_keep_their_target(
    model: Model, tmp_path: Path
) -> None:
    found = found_in(model, tmp_path, COLORS)
    extra = Path(found.names[2])  # made another doubted one, by hand
    found = replace(found, suggested=(*found.suggested[:2], "blue", *found.suggested[3:]))
    whole = suspect_maps(model, found)
    assert whole.names == found.names[:3]
    first, second = (Path(name) for name in found.names[:2])
    first.write_bytes(b"no image")
    second.unlink()
    made = suspect_maps(model, found)
    assert (made.names, made.targets) == ((str(extra),), whole.targets[2:])
    np.testing.assert_array_equal(made.values, whole.values[2:])
    assert "2 of 3 suspects left out" in made.provenance.notes[-1]
    extra.unlink()
    with pytest.raises(ImageError, match="none of the files of these 1 suspect can be read"):
        suspect_maps(model, found)
    first.unlink()
    with pytest.raises(ImageError, match="none of the files of these 3 suspects is there any more"):
        suspect_maps(model, found)


def test_a_nearest_image_that_is_gone_is_replaced_by_the_next(model: Model, tmp_path: Path) -> None:
    found = found_in(model, tmp_path)
    before = suspect_maps(model, found, limit=1)
    near = [Path(found.near_names[j]) for j in found.near[0] if found.near_labels[j] == found.suggested[0]]
    near[0].unlink()
    after = suspect_maps(model, found, limit=1)
    assert (before.targets, after.targets) == tuple((f"similarity to {one.name}",) for one in near[:2])


def test_another_network_is_refused(model: Model, tmp_path: Path) -> None:
    found = found_in(model, tmp_path)
    other = network(nn.AdaptiveAvgPool2d(1))
    with torch.no_grad():
        other.module[0].weight.mul_(2)  # type: ignore[index, operator, union-attr]
    with pytest.raises(StoreError, match="give the network that made"):
        suspect_maps(other, found)


def test_what_has_no_map_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="outlier is in no place"):
        suspect_maps(model, found_in(model, tmp_path, kind="outlier"))
    images = torch.rand(8, 3, 32, 32)
    made = replace(embed(model, images), labels=("a", "b") * 4)
    with pytest.raises(ParameterError, match="is no absolute path"):
        suspect_maps(model, suspects(made, k=3))
    brought = EmbeddingStore.of_vectors(
        tmp_path / "brought.lance", made.vectors, names=[f"image {i}" for i in range(8)], labels=["a", "b"] * 4
    )
    with pytest.raises(StoreError, match="no network is known"):
        suspect_maps(model, suspects(brought, k=3))
    calm = replace(made, labels=("a",) * 7 + ("b",))
    agreed = suspects(calm, k=3)
    agreed = replace(agreed, suggested=agreed.labels)
    with pytest.raises(ParameterError, match="no label is doubted"):
        suspect_maps(model, agreed)
