"""A scan against brute force over whole maps, scikit-learn, NumPy, and networks whose units are known."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import nn

from convscope import (
    ImageError,
    Interrupted,
    LayerError,
    Model,
    OutputError,
    ParameterError,
    UnitScan,
    feature_maps,
)
from convscope import scan as scan_units
from convscope.embedding.distributed import ray_running
from convscope.units.channel_statistics import histograms

DEAD, DETECTOR, COPY, NEGATIVE = 0, 1, 2, 3
PATCH = torch.tensor([[1.0, -1, 1], [-1, 1, -1], [1, -1, 1]])


def planted() -> nn.Module:
    """Channel 0 is never above zero, 1 detects `PATCH`, 2 is 2.5 times 1, 3 its negative; 4 to 7 are chance."""
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 8, 3, padding=1)
    with torch.no_grad():
        conv.weight[DEAD], conv.bias[DEAD] = 0, -1
        conv.weight[DETECTOR, 0], conv.bias[DETECTOR] = PATCH, -4
        conv.weight[COPY, 0], conv.bias[COPY] = 2.5 * PATCH, -10
        conv.weight[NEGATIVE, 0], conv.bias[NEGATIVE] = -PATCH, 4
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 3))


def noise(n: int, seed: int = 0) -> torch.Tensor:
    return 0.2 * torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


LABELS = [(None, "cat", "dog", "cat")[i % 4] for i in range(70)]


@pytest.fixture(scope="module")
def found() -> UnitScan:
    return scan_units(planted(), noise(70), layers=["0", "1", "4"], k=12, labels=LABELS)


@pytest.fixture(scope="module")
def maps() -> dict[str, np.ndarray]:
    values = feature_maps(planted(), noise(70), layer=["0", "1", "4"]).values
    return {name: v.reshape(*v.shape[:2], -1) for name, v in values.items()}


@pytest.mark.parametrize("layer", ["0", "1", "4"])
def test_what_is_said_of_each_channel_is_what_whole_maps_show(
    found: UnitScan, maps: dict[str, np.ndarray], layer: str
) -> None:
    whole = maps[layer]
    peaks = whole.max(axis=2)
    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(found.peaks[layer], peaks, **close)
    np.testing.assert_allclose(found.means[layer], whole.mean(axis=(0, 2)), **close)
    np.testing.assert_allclose(found.silent_places[layer], (whole <= 0).mean(axis=(0, 2)), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.silent_images[layer], (peaks <= 0).mean(axis=0))
    cats = np.array([label == "cat" for label in LABELS])
    np.testing.assert_allclose(found.label_means[layer][:, 0], whole[cats].mean(axis=(0, 2)), **close)
    of_places = np.moveaxis(whole, 1, 2).reshape(-1, whole.shape[1])
    np.testing.assert_allclose(found.covariances[layer], np.cov(of_places.T, bias=True), rtol=1e-4, atol=1e-6)


def test_a_convolution_is_read_as_it_is_and_its_batch_norm_may_be_folded_where_it_is_not() -> None:
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.ReLU()]
    for norm in (parts[1], parts[4]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.weight)
    module = nn.Sequential(*parts).eval()
    for layers in (["0", "1", "5"], ["3", "4"], ["2"]):
        found = scan_units(module, noise(9), layers=layers)
        for layer in layers:
            with torch.no_grad():
                whole = module[: int(layer) + 1](noise(9)).flatten(2)
            np.testing.assert_allclose(found.peaks[layer], whole.amax(dim=2), rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(found.means[layer], whole.mean(dim=(0, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", ["0", "1", "4"])
def test_orders_quantiles_and_histograms_are_those_of_the_peaks(
    found: UnitScan, maps: dict[str, np.ndarray], layer: str
) -> None:
    peaks = np.asarray(found.peaks[layer])
    np.testing.assert_array_equal(found.quantiles[layer], np.quantile(peaks, found.levels, axis=0).T)
    for channel, values in enumerate(peaks.T):
        counts, edges = np.histogram(values.astype(np.float64), bins=found.histograms[layer].shape[1])
        np.testing.assert_array_equal(found.histograms[layer][channel], counts)
        np.testing.assert_array_equal(found.edges[layer][channel], edges)
        ordered = np.sort(values)
        np.testing.assert_array_equal(values[found.high[layer][channel]], ordered[::-1][:12])
        np.testing.assert_array_equal(values[found.low[layer][channel]], ordered[:12])
        distances = np.abs(values - np.median(values))
        np.testing.assert_array_equal(distances[found.middle[layer][channel]], np.sort(distances)[:12])
        for chosen, places in (
            (found.high, found.high_places), (found.low, found.low_places), (found.middle, found.middle_places)
        ):  # fmt: skip
            images = chosen[layer][channel]
            there = maps[layer][images, channel, places[layer][channel]]
            np.testing.assert_allclose(there, values[images], rtol=1e-5, atol=1e-6)


def test_the_histogram_of_nearly_constant_and_of_huge_peaks_has_bins() -> None:
    """With whole numbers as edges, where every value is on an edge, and where float32 has no room for 32 edges."""
    rows = np.stack([np.arange(65) % 33, 1e6 + np.arange(65) % 2, np.full(65, 1e30), np.zeros(65)])
    counts, edges = histograms(rows.astype(np.float32))
    assert (np.diff(edges) > 0).all()
    np.testing.assert_array_equal(counts[0], [2] * 31 + [3])
    np.testing.assert_array_equal(counts[1:, [0, 16, 31]], [[33, 0, 32], [0, 65, 0], [0, 65, 0]])


@pytest.mark.parametrize("layer", ["0", "1", "4"])
def test_auroc_is_that_of_scikit_learn_also_with_ties(found: UnitScan, layer: str) -> None:
    known = np.array([label is not None for label in LABELS])
    labels = np.array([str(label) for label in LABELS])[known]
    assert found.labels == ("cat", "dog")
    peaks = np.asarray(found.peaks[layer])[known]
    for channel, values in enumerate(peaks.T):
        for i, label in enumerate(found.labels):
            expected = roc_auc_score(labels == label, values)
            assert found.auroc(layer)[channel, i] == pytest.approx(expected, abs=1e-12)
    best = found.selective(layer, "dog", k=3)
    assert [one.auroc for one in best] == sorted(found.auroc(layer)[:, 1], reverse=True)[:3]


def test_many_labels_have_the_same_auroc_by_sums_of_sorted_ranks() -> None:
    labels = [f"label {i % 70:02}" for i in range(150)]
    found = scan_units(planted(), noise(150), layers="1", labels=labels)
    peaks = np.asarray(found.peaks["1"])
    for i in (0, 35, 69):
        expected = [roc_auc_score([one == found.labels[i] for one in labels], values) for values in peaks.T]
        np.testing.assert_allclose(found.auroc("1")[:, i], expected, rtol=0, atol=1e-12)


def test_few_layers_and_few_images() -> None:
    found = scan_units(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()), torch.randn(2, 3, 8, 8))
    assert found.layers == ("0", "1")  # each once, where all maps have the same size
    assert found.dead_rate == 1


def test_planted_dead_and_duplicate_channels_are_found(found: UnitScan) -> None:
    x = noise(70)
    x[5, 0, 2:5, 3:6] += PATCH  # so that the detector fires
    after = scan_units(planted(), x, layers=["0", "1"], k=5)
    assert DEAD in after.dead("1")
    assert DETECTOR not in after.dead("1")
    assert after.dead_rate == pytest.approx(3 / 70)
    pairs = {(p.a, p.b): p for p in after.duplicates("1")}
    assert pairs.keys() == {(DETECTOR, COPY)}
    assert pairs[DETECTOR, COPY].scale == pytest.approx(2.5, rel=1e-4)
    pairs = {(p.a, p.b): p for p in after.duplicates("0")}
    assert pairs.keys() == {(DETECTOR, COPY), (DETECTOR, NEGATIVE), (COPY, NEGATIVE)}
    assert pairs[DETECTOR, NEGATIVE].r == pytest.approx(-1, abs=1e-5)
    assert pairs[DETECTOR, NEGATIVE].scale == pytest.approx(-1, rel=1e-4)
    assert np.nanmax(np.abs(after.correlations("0"))) == 1
    assert "3 / n" in after.provenance.notes[-1]


def test_a_channel_that_fires_beside_another_is_not_its_copy() -> None:
    conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0, 1, 1] = conv.weight[1, 0, 1, 2] = 1  # the image, and the image moved by a pixel
    found = scan_units(nn.Sequential(conv, nn.ReLU()), noise(40), layers="1")
    assert found.duplicates("1", min_correlation=0.9) == []


def test_different_channels_are_those_whose_auroc_between_the_sets_is_far_from_chance(found: UnitScan) -> None:
    x = noise(60)
    x[:20, 0, 2:5, 3:6] += PATCH
    found = scan_units(planted(), x, layers="1", labels=["with"] * 20 + ["without"] * 40)
    by_label = found.different("1", "with", "without", k=2)
    assert {one.channel for one in by_label} == {DETECTOR, COPY}
    masks = np.arange(60) < 20, np.arange(60) >= 20
    assert found.different("1", *masks, k=2) == by_label
    assert [one.auroc for one in found.different("1", masks[1], "with", k=2)] == [
        pytest.approx(1 - one.auroc) for one in by_label
    ]
    with pytest.raises(ParameterError, match="20 images in both"):
        found.different("1", "with", np.ones(60, bool))
    with pytest.raises(ParameterError, match="a mask of bools"):
        found.different("1", [1, 2], "with")
    with pytest.raises(ParameterError, match="no image has it"):
        found.different("1", "wit", "without")


@pytest.mark.parametrize(
    ("network", "images", "layers", "n_sides"),
    [
        (lambda: nn.Sequential(nn.Conv1d(2, 3, 5), nn.ReLU()), torch.randn(9, 2, 40), "1", 1),
        (lambda: nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU()), torch.randn(9, 1, 8, 8, 8), "1", 3),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), torch.randn(9, 1, 8, 8), "1", 0),
    ],
)
def test_signals_volumes_and_vectors(
    network: Callable[[], nn.Module], images: torch.Tensor, layers: str, n_sides: int
) -> None:
    torch.manual_seed(0)
    module = network()
    found = scan_units(module, images, layers=layers)
    with torch.no_grad():
        values = module(images)
    np.testing.assert_allclose(found.peaks[layers], values.flatten(2).amax(-1) if n_sides else values, rtol=1e-5)
    first = found.patches(layers, 1)[0]
    assert len(first.position) == n_sides
    assert values[int(first.name.split()[-1]), 1][first.position].item() == pytest.approx(first.value, rel=1e-5)
    assert first.box is None if not n_sides else len(first.box or ()) == 2 * n_sides


def test_tokens_are_maps_of_the_patches() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=4, embed_dim=24, num_heads=2)
    x = torch.randn(3, 3, 64, 64)
    found = scan_units(vit, x, layers="blocks.1")
    np.testing.assert_allclose(
        found.peaks["blocks.1"], feature_maps(vit, x, layer="blocks.1")["blocks.1"].max(axis=(2, 3)), rtol=1e-4
    )
    assert tuple(found.sides["blocks.1"]) == (4, 4)


def test_by_default_one_layer_of_each_resolution() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2),
    )  # fmt: skip
    assert scan_units(module, noise(3)).layers == ("1", "4")


def test_the_network_and_the_tensor_are_left_as_they_were() -> None:
    module, x = planted().train(), noise(5)
    before = x.clone()
    scan_units(module, x, layers="1")
    assert module.training
    assert torch.equal(x, before)
    assert not any(child._forward_hooks for child in module.modules())


def test_a_scan_is_the_same_after_a_trip_to_the_disk(found: UnitScan, tmp_path: Path) -> None:
    found.save(tmp_path / "scan")
    loaded = UnitScan.load(tmp_path / "scan")
    assert loaded.top("1", 4, k=5) == found.top("1", 4, k=5)
    assert loaded.labels == found.labels
    np.testing.assert_array_equal(loaded.peaks["4"], found.peaks["4"])
    assert repr(loaded) == repr(found)


def test_mistakes_are_named(found: UnitScan, tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="was not scanned; these were: 0, 1, 4"):
        found.dead("2")
    with pytest.raises(ParameterError, match="channel=8: layer 1 has 8 channels"):
        found.top("1", 8)
    with pytest.raises(ParameterError, match="2 for 3 images"):
        scan_units(planted(), noise(3), labels=["a", "b"])
    with pytest.raises(LayerError, match="no layer"):
        scan_units(planted(), noise(3), layers="conv")
    with pytest.raises(LayerError, match="no layer was named"):
        scan_units(planted(), noise(3), layers=[])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        scan_units(planted(), noise(3), output=tmp_path / "full")


def test_an_image_for_which_the_network_gives_nan_is_left_out() -> None:
    class Log(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x.mean(dim=(1, 2, 3), keepdim=True) + x * 0).log() + x

    x = torch.rand(6, 1, 8, 8) + 0.1
    x[4] -= 5
    found = scan_units(nn.Sequential(Log(), nn.ReLU()), x, layers="0")
    assert len(found) == 5
    assert "image 4: the network gives NaN" in found.provenance.skipped[0]
    assert np.isfinite(found.covariances["0"]).all()


def test_ctrl_c_gives_what_was_done() -> None:
    def stop(done: int, total: int) -> None:
        if done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        scan_units(planted(), noise(300), layers="1", progress=stop)
    found = caught.value.result
    assert len(found) == 128
    np.testing.assert_array_equal(found.peaks["1"], scan_units(planted(), noise(300)[:128], layers="1").peaks["1"])


# --- files ----------------------------------------------------------------------------------------------------


def model() -> Model:
    return Model(planted(), input_size=(8, 8), mean=[0.5], std=[0.5])


def write_images(folder: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(n):
        place = folder / ("cat" if i % 3 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(place / f"{i:03}.png")


def same(one: UnitScan, other: UnitScan) -> None:
    """Equal in every array and name."""
    assert one.names == other.names
    assert one.image_labels == other.image_labels
    for name, tables in vars(one).items():
        if isinstance(tables, dict):
            for layer, values in tables.items():
                np.testing.assert_array_equal(values, getattr(other, name)[layer], err_msg=f"{name} {layer}")


def test_unreadable_files_are_left_out_and_listed(tmp_path: Path) -> None:
    write_images(tmp_path / "photos", 12)
    (tmp_path / "photos" / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    found = scan_units(model(), tmp_path / "photos", layers="1")
    assert len(found) == 12
    assert found.labels == ("cat", "dog")
    assert [text for text in found.provenance.skipped if "broken.png" in text]
    with pytest.raises(ImageError, match=r"broken\.png"):
        scan_units(model(), [tmp_path / "photos" / "cat" / "broken.png"], layers="1")


def test_a_scan_goes_on_where_it_was_stopped_and_is_the_same(tmp_path: Path) -> None:
    write_images(tmp_path / "photos", 200)
    (tmp_path / "photos" / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")

    def stop(done: int, total: int) -> None:
        if done >= 128:
            raise KeyboardInterrupt

    place = tmp_path / "scan"
    with pytest.raises(KeyboardInterrupt):
        scan_units(model(), tmp_path / "photos", layers=["0", "1"], output=place, progress=stop)
    steps = list[int]()
    resumed = scan_units(
        model(), tmp_path / "photos", layers=["0", "1"], output=place, progress=lambda done, _: steps.append(done)
    )
    assert min(steps) > 128
    same(resumed, scan_units(model(), tmp_path / "photos", layers=["0", "1"]))
    same(UnitScan.load(place), resumed)
    steps.clear()
    same(
        scan_units(
            model(), tmp_path / "photos", layers=["0", "1"], output=place, progress=lambda d, _: steps.append(d)
        ),
        resumed,
    )
    assert steps == []
    assert any("broken.png" in text for text in resumed.provenance.skipped)


def test_new_and_changed_files_are_scanned_when_a_scan_goes_on(tmp_path: Path) -> None:
    write_images(tmp_path / "photos", 10)
    place = tmp_path / "scan"
    scan_units(model(), tmp_path / "photos", layers="1", output=place)
    Image.new("L", (8, 8), 77).save(tmp_path / "photos" / "dog" / "000.png")
    Image.new("L", (8, 8), 99).save(tmp_path / "photos" / "dog" / "new.png")
    found = scan_units(model(), tmp_path / "photos", layers="1", output=place)
    fresh = scan_units(model(), tmp_path / "photos", layers="1")
    assert found.names == fresh.names
    np.testing.assert_allclose(found.peaks["1"], fresh.peaks["1"], rtol=1e-5, atol=1e-6)
    assert any("also count 1 image" in note for note in found.provenance.notes)
    assert len(UnitScan.load(place)) == 11


def test_another_network_or_other_layers_do_not_go_into_the_same_folder(tmp_path: Path) -> None:
    scan_units(planted(), noise(4), layers="1", output=tmp_path / "scan")
    with pytest.raises(OutputError, match="differs in layers"):
        scan_units(planted(), noise(4), layers="0", output=tmp_path / "scan")
    other = planted()
    nn.init.ones_(other[0].weight)
    with pytest.raises(OutputError, match="differs in network"):
        scan_units(other, noise(4), layers="1", output=tmp_path / "scan")


def test_a_store_gives_its_images_and_labels(tmp_path: Path) -> None:
    from convscope import embed

    write_images(tmp_path / "photos", 6)
    store = embed(model(), tmp_path / "photos", store=tmp_path / "s.lance")
    found = scan_units(model(), store, layers="1")
    assert set(found.names) == set(store.names)
    assert found.labels == ("cat", "dog")
    assert found.image_labels == store.labels


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="convscope[ray] is not installed")
@pytest.mark.filterwarnings("ignore")
def test_ray_finds_the_same(tmp_path: Path) -> None:
    """The first turn has no image that can be read: the next one, too, is read here, and the last two by Ray."""
    photos = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for i in range(230):
        place = photos / "ab"[i % 2] / f"{i:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        if (i // 2 < 64 and i % 2 == 0) or i == 229:
            place.write_bytes(b"\x89PNG")
        else:
            Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(place)
    model = Model(planted(), input_size=(8, 8), mean=[0.5], std=[0.2])
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in Ray's workers
    try:
        expected = scan_units(model, photos, layers=["1", "4"])
        with ray_running(None):  # for both
            found = scan_units(model, photos, layers=["1", "4"], runner="ray", output=tmp_path / "scan")
            with pytest.raises(ImageError, match=r"^\S+/229.png"):  # as it is raised here
                scan_units(model, sorted(photos.glob("b/*.png")), layers="1", runner="ray")
    finally:
        torch.set_num_threads(n_threads)
    assert len(found) == 165
    assert found.provenance.skipped == expected.provenance.skipped
    for name, tables in vars(expected).items():
        if isinstance(tables, dict):
            for layer, values in tables.items():
                np.testing.assert_array_equal(getattr(found, name)[layer], values, err_msg=f"{name} {layer}")
    with pytest.raises(ParameterError, match="belongs to runner"):
        scan_units(model, photos, layers="1", address="here")
