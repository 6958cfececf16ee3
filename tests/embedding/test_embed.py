"""embed: what the vectors are, what is left out, and that nothing is left behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from convscope.embedding import Embeddings, embed, neighbors
from convscope.errors import ImageError, Interrupted, LayerError, OutputError, ParameterError
from convscope.models import Model, load_model
from convscope.results import Result


def pictures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 20, 24, 3)).astype(np.uint8)


def test_vectors_are_what_the_classifier_takes_in(tiny: Model) -> None:
    x = torch.randn(11, 3, 16, 16)
    found = embed(tiny, x)
    with torch.no_grad():
        expected = tiny.module[:-1](x)
    torch.testing.assert_close(torch.from_numpy(found.vectors), expected, atol=1e-6, rtol=1e-5)
    assert found.layer == "7:input"
    assert found.vectors.dtype == np.float32
    assert found.names[10] == "image 10"
    assert found.labels == (None,) * 11


def test_a_spatial_layer_is_averaged_over_space(tiny: Model) -> None:
    x = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        expected = tiny.module[:4](x).mean(dim=(2, 3))
    torch.testing.assert_close(torch.from_numpy(embed(tiny, x, layer="3").vectors), expected, atol=1e-6, rtol=1e-5)


def test_a_layer_held_channels_last_is_averaged_over_space() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3)
            self.norm = nn.LayerNorm(5)
            self.head = nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.conv(x).permute(0, 2, 3, 1)).mean(dim=(1, 2)))

    net = Last()
    assert embed(net, torch.randn(2, 3, 8, 8), layer="norm").vectors.shape == (2, 5)


def test_the_forward_pass_stops_at_the_layer(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    tiny.structure((3, 16, 16))
    calls: list[str] = []
    tiny.module[7].register_forward_hook(lambda *_: calls.append("classifier"))
    embed(tiny, x)
    assert calls == []


def test_a_batch_gives_what_its_images_give_one_by_one(lite0: Model, cat: np.ndarray, coffee: np.ndarray) -> None:
    images = [cat, coffee, cat[::-1], coffee[:, ::-1], cat[50:, 100:]]
    together = embed(lite0, images).vectors
    alone = np.concatenate([embed(lite0, image).vectors for image in images])
    assert together.shape == (5, 1280)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_thumbnails_are_area_averages_of_the_center(tiny: Model) -> None:
    model = Model(tiny.module, input_size=(128, 256), mean=[0.5] * 3, std=[0.25] * 3)
    picture = np.random.default_rng(0).integers(0, 256, (128, 256, 3)).astype(np.uint8)
    thumbnail = embed(model, picture).thumbnails[0]
    center = picture[:, 64:192].astype(float)
    expected = center.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert thumbnail.shape == (64, 64, 3)
    assert thumbnail.dtype == np.uint8
    np.testing.assert_allclose(thumbnail, expected, atol=1.01)  # rounded twice, by rows and by columns


def test_the_label_is_the_folder(views: Embeddings) -> None:
    assert views.vectors.shape == (96, 1280)
    assert views.layer == "classifier:input"
    assert all(Path(name).parent.name == label for name, label in zip(views.names, views.labels, strict=True))
    assert len(set(views.labels)) == 12


def test_broken_files_of_a_folder_are_left_out_and_listed(tiny: Model, samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(samples / "crops" / "cat", folder / "cat")
    (folder / "cat" / "cat-03.jpg").write_bytes(b"")
    (folder / "notes.jpg").write_text("not an image")
    seen: list[tuple[int, int]] = []
    found = embed(tiny, folder, progress=lambda done, total: seen.append((done, total)))
    assert len(found) == len(found.names) == len(found.labels) == len(found.thumbnails) == 7
    assert not any("cat-03" in name for name in found.names)
    skipped = found.provenance.skipped
    assert len(skipped) == 2
    assert "cat-03.jpg" in skipped[0]
    assert "notes.jpg" in skipped[1]
    alone = embed(tiny, [str(folder / "cat" / f"cat-0{i}.jpg") for i in (0, 1, 2, 4, 5, 6, 7)])
    np.testing.assert_allclose(found.vectors, alone.vectors, atol=1e-6)
    assert seen[-1] == (9, 9), "also where the last file is none that can be read"


def test_progress_reaches_the_end(tiny: Model) -> None:
    seen: list[tuple[int, int]] = []
    embed(tiny, pictures(20), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_single_broken_file_is_an_error(tiny: Model, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        embed(tiny, broken)


def test_an_unknown_layer_names_those_there_are(tiny: Model) -> None:
    with pytest.raises(LayerError, match="among others"):
        embed(tiny, pictures(1), layer="fc9")


def test_a_network_without_weights_is_embedded_by_what_it_puts_out() -> None:
    x = torch.rand(1, 3, 8, 8)
    found = embed(nn.Sequential(nn.ReLU(), nn.AvgPool2d(4)), x)
    assert found.layer == ":output"
    np.testing.assert_allclose(found.vectors, x.mean(dim=(2, 3)), rtol=0, atol=1e-6)


def test_ctrl_c_keeps_what_was_done(tiny: Model) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    whole = embed(tiny, pictures(40))
    with pytest.raises(Interrupted) as caught:
        embed(tiny, pictures(40), progress=stop)
    part = caught.value.result
    assert len(part) == len(part.names) == len(part.thumbnails) == 16
    assert part.provenance.notes == ("interrupted after 16 of 40 images",)
    assert whole.provenance.notes == ()
    np.testing.assert_array_equal(part.vectors, whole.vectors[:16])
    np.testing.assert_array_equal(part.thumbnails, whole.thumbnails[:16])


def test_ctrl_c_before_the_first_batch_is_just_that(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("convscope.store.thumbnails.Image.fromarray", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        embed(tiny, pictures(2))
    assert not isinstance(caught.value, Interrupted)


def test_the_model_is_left_as_it_was(tiny: Model) -> None:
    tiny.module.train()
    tiny.module[3].eval()
    flags = [m.training for m in tiny.module.modules()]
    weights = {name: t.clone() for name, t in tiny.module.state_dict().items()}

    def fail(done: int, total: int) -> None:
        raise ZeroDivisionError

    embed(tiny, pictures(3))
    with pytest.raises(ZeroDivisionError):
        embed(tiny, pictures(3), progress=fail)
    assert [m.training for m in tiny.module.modules()] == flags
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny.module.modules())
    assert all(p.requires_grad and p.grad is None for p in tiny.module.parameters())
    assert all(torch.equal(weights[name], t) for name, t in tiny.module.state_dict().items())


def test_dropout_is_off_whatever_the_mode() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 2)).train()
    x = torch.randn(2, 3, 8, 8)
    np.testing.assert_array_equal(embed(net, x).vectors, embed(net, x).vectors)
    assert (embed(net, x).vectors != 0).all()


def test_saved_and_read_back(views: Embeddings, tmp_path: Path) -> None:
    views.save(tmp_path / "views")
    for kind in (Embeddings, Result):
        again = kind.load(tmp_path / "views")
        assert isinstance(again, Embeddings)
        np.testing.assert_array_equal(again.vectors, views.vectors)
        np.testing.assert_array_equal(again.thumbnails, views.thumbnails)
        assert (again.names, again.labels, again.layer) == (views.names, views.labels, views.layer)
        assert again.provenance.model["weights_sha256"] == views.provenance.model["weights_sha256"]
        assert again.model is None
    with pytest.raises(OutputError, match="exists already"):
        views.save(tmp_path / "views")


def test_labels_that_are_missing_survive_saving(tiny: Model, tmp_path: Path) -> None:
    embed(tiny, pictures(2)).save(tmp_path / "two")
    assert Embeddings.load(tmp_path / "two").labels == (None, None)


def test_without_its_model_a_new_image_needs_embed(views: Embeddings, samples: Path, tmp_path: Path) -> None:
    photo = samples / "photos" / "cat.png"
    direct = neighbors(views, photo, k=5)
    assert {views.labels[i] for i in direct.indices[0]} == {"cat"}
    views.save(tmp_path / "views")
    again = Embeddings.load(tmp_path / "views")
    with pytest.raises(ParameterError, match=r"pass embed\(model, query\)"):
        neighbors(again, photo)
    assert views.model is not None
    found = neighbors(again, embed(views.model, photo), k=5)
    np.testing.assert_array_equal(found.indices, direct.indices)


def test_they_show_themselves(views: Embeddings) -> None:
    assert "(96, 1280)" in repr(views)
    assert "(96, 1280)" in views._repr_html_()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_the_last_hidden_layer_of_vgg_and_alexnet_has_4096_values(name: str, cat: np.ndarray) -> None:
    model = load_model(f"torchvision:{name}", pretrained=False, device="cpu")
    found = embed(model, cat, layer="classifier.4")
    assert found.vectors.shape == (1, 4096)
    assert found.vectors.std() > 0
    # what the last layer takes in is the same after ReLU and dropout, which does nothing in evaluation
    np.testing.assert_allclose(embed(model, cat).vectors, np.maximum(found.vectors, 0), atol=1e-5)


def test_bfloat16_is_near(lite0: Model, samples: Path) -> None:
    exact = embed(lite0, samples / "photos").vectors
    rough = embed(lite0, samples / "photos", precision="bfloat16").vectors
    similarity = (exact * rough).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert (similarity > 0.99).all()
    assert not np.array_equal(exact, rough)
    assert lite0.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_gives_the_same(lite0: Model, samples: Path) -> None:
    folder = samples / "crops" / "coffee"
    np.testing.assert_allclose(
        embed(lite0, folder, compiled=True).vectors, embed(lite0, folder).vectors, atol=1e-4, rtol=1e-4
    )


def test_a_compiled_network_knows_only_first_calls() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), relu := nn.ReLU(), relu, nn.Flatten(), nn.Linear(144, 2))
    with pytest.raises(LayerError, match="first call"):
        embed(net, torch.zeros(1, 3, 8, 8), layer="1:1", compiled=True)


def test_a_loader_gives_what_its_tensor_gives(tiny: Model) -> None:
    x, labels = torch.rand(7, 3, 16, 16), torch.arange(7) % 2
    found = embed(tiny, DataLoader(TensorDataset(x, labels), batch_size=3))
    np.testing.assert_allclose(found.vectors, embed(tiny, x).vectors, atol=1e-5)
    assert found.labels == ("0", "1", "0", "1", "0", "1", "0")
    assert found.names == embed(tiny, x).names
