"""The store: what is kept, what is computed again, who is refused, and who may write at the same time."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from convscope import (
    EmbeddingStore,
    ImageError,
    Interrupted,
    Model,
    ParameterError,
    StoreError,
    cluster,
    embed,
    neighbors,
    project,
)
from convscope.embedding.features import Extractor
from convscope.embedding.origins import check_model
from convscope.images import ImageSource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in ("cats", "dogs"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 255, (20 + i, 30, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{i}.png")
    return tmp_path / "photos"


def network(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 3))
    return Model(module, input_size=(16, 16), mean=[0.5] * 3, std=[0.2] * 3, labels=["cats", "dogs", "birds"])


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through the network, a number for each batch."""
    calls: list[int] = []
    running = Extractor.running

    @contextmanager
    def counting(self: Extractor) -> Any:
        with running(self) as extract:
            yield lambda x: (calls.append(len(x)), extract(x))[1]

    monkeypatch.setattr(Extractor, "running", counting)
    return calls


def test_rows_hold_what_was_seen(folder: Path, tmp_path: Path) -> None:
    model = network()
    store = embed(model, folder, store=tmp_path / "s.lance")
    rows = store.to_arrow().to_pylist()
    expected = embed(model, folder)
    assert [r["path"] for r in rows] == list(expected.names)
    np.testing.assert_allclose([r["vector"] for r in rows], expected.vectors, atol=1e-6)
    assert [r["label"] for r in rows] == ["cats"] * 6 + ["dogs"] * 6
    assert [(r["width"], r["height"]) for r in rows] == [(30, 20 + i) for i in range(6)] * 2
    prediction = model.predict(folder)
    assert [r["predicted"] for r in rows] == [top[0].label for top in prediction.top(1)]
    np.testing.assert_allclose(
        [r["probability"] for r in rows], [t[0].probability for t in prediction.top(1)], 1e-5
    )
    assert len({r["id"] for r in rows}) == 12
    assert all(Image.open(io.BytesIO(r["thumbnail"])).size == (64, 64) for r in rows)


def test_a_second_run_computes_nothing(folder: Path, tmp_path: Path, counted: list[int]) -> None:
    embed(network(), folder, store=tmp_path / "s.lance")
    assert sum(counted) == 12
    store = embed(network(), folder, store=tmp_path / "s.lance")
    assert (sum(counted), len(store)) == (12, 12)


def test_only_new_and_changed_files_are_embedded(folder: Path, tmp_path: Path, counted: list[int]) -> None:
    store = embed(network(), folder, store=tmp_path / "s.lance")
    before = {r["path"]: r for r in store.to_arrow().to_pylist()}
    Image.new("RGB", (30, 30), "red").save(folder / "cats" / "0.png")
    Image.new("RGB", (30, 30), "red").save(folder / "dogs" / "new.png")
    store = embed(network(), folder, store=tmp_path / "s.lance")
    after = {r["path"]: r for r in store.to_arrow().to_pylist()}
    assert sum(counted) == 14
    assert len(after) == 13
    changed = [path for path in before if before[path] != after[path]]
    assert changed == [str(folder / "cats" / "0.png")]
    assert after[changed[0]]["id"] == after[str(folder / "dogs" / "new.png")]["id"]


def test_rows_of_files_that_are_gone_are_pruned_when_asked(folder: Path, tmp_path: Path) -> None:
    store = embed(network(), folder, store=tmp_path / "s.lance")
    embed(network(), torch.rand(2, 3, 16, 16), store=tmp_path / "s.lance")  # no files: they stay
    (folder / "cats" / "0.png").unlink()
    (folder / "cats" / "it's.png").write_bytes((folder / "cats" / "1.png").read_bytes())
    embed(network(), folder, store=tmp_path / "s.lance")
    (folder / "cats" / "it's.png").unlink()
    assert len(store) == 15
    assert store.prune() == 2
    assert len(store) == 13


def test_a_file_that_cannot_be_read_has_a_row_that_says_why(
    folder: Path, tmp_path: Path, counted: list[int]
) -> None:
    (folder / "cats" / "bad.png").write_bytes(b"no image")
    store = embed(network(), folder, store=tmp_path / "s.lance")
    (row,) = store.to_arrow(where="error IS NOT NULL").to_pylist()
    assert "bad.png" in row["error"]
    assert (row["vector"], row["thumbnail"], row["label"]) == (None, None, "cats")
    embed(network(), folder, store=tmp_path / "s.lance")
    assert sum(counted) == 12
    found = neighbors(store, str(folder / "cats" / "0.png"), k=50)
    assert found.indices.shape == (1, 11)


def test_a_file_alone_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.png"):
        embed(network(), tmp_path / "bad.png", store=tmp_path / "s.lance")


def test_another_network_layer_or_precision_is_refused(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "s.lance"
    embed(network(), folder, store=place)
    with pytest.raises(StoreError, match="the weights differ"):
        embed(network(1), folder, store=place)
    with pytest.raises(StoreError, match="the layer differ"):
        embed(network(), folder, store=place, layer="0")
    with pytest.raises(StoreError, match="the precision differ"):
        embed(network(), folder, store=place, precision="bfloat16")
    store = EmbeddingStore.open(place)
    assert len(store) == 12
    image = np.random.default_rng(9).integers(0, 255, (20, 20, 3), np.uint8)
    assert neighbors(store, image, k=1, model=network()).indices.shape == (1, 1)
    with pytest.raises(StoreError, match="the weights differ"):
        neighbors(store, image, k=1, model=network(1))


def test_a_network_is_checked_against_what_made_the_store(folder: Path, tmp_path: Path) -> None:
    store = embed(network(), folder, store=tmp_path / "s.lance")
    check_model(store, network())
    check_model(store, None)
    with pytest.raises(StoreError, match=r"s\.lance holds vectors of Sequential \(\w{8}\) .*, not of Sequential"):
        check_model(store, network(1))
    own = EmbeddingStore.of_vectors(tmp_path / "own.lance", np.eye(4))
    check_model(own, network(1))  # no network made it
    with pytest.raises(StoreError, match="brought along"):
        check_model(own, network(1), embeds=True)


def test_places_that_hold_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="convscope embed photos/ --store"):
        EmbeddingStore.open(tmp_path / "nothing")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="is no store"):
        embed(network(), torch.rand(1, 3, 16, 16), store=tmp_path / "full")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["letter.txt"]


def test_float16_takes_half_the_space_and_little_of_the_precision(folder: Path, tmp_path: Path) -> None:
    store = embed(network(), folder, store=tmp_path / "s.lance", vectors="float16")
    assert str(store.schema.field("vector").type.value_type) == "halffloat"
    np.testing.assert_allclose(
        store.to_arrow(["vector"])["vector"].to_pylist(), embed(network(), folder).vectors, rtol=1e-3, atol=1e-4
    )
    assert neighbors(store, str(folder / "cats" / "0.png"), k=2).scores.shape == (1, 2)


def test_tensors_and_loaders(tmp_path: Path, counted: list[int]) -> None:
    x, labels = torch.rand(7, 3, 16, 16), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    store = embed(network(), DataLoader(TensorDataset(x, labels), batch_size=3), store=tmp_path / "s.lance")
    assert store.to_arrow(["label"])["label"].to_pylist() == ["0", "1", "2", "0", "1", "2", "0"]
    np.testing.assert_allclose(
        store.to_arrow(["vector"])["vector"].to_pylist(), embed(network(), x).vectors, atol=1e-6
    )
    assert sum(counted) == 14
    embed(network(), x, store=tmp_path / "s.lance")
    assert sum(counted) == 14  # they are known by their content


def test_ctrl_c_keeps_what_was_computed(folder: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(network(), folder, store=tmp_path / "s.lance", progress=stop)
    store = EmbeddingStore.open(tmp_path / "s.lance")
    assert 4 <= len(store) <= 8
    assert len(embed(network(), folder, store=tmp_path / "s.lance")) == 12


@pytest.mark.filterwarnings("ignore:optimize")
def test_versions_do_not_pile_up(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convscope.store.lance_table.KEPT_FOR", timedelta(0))
    place = tmp_path / "s.lance"
    for _ in range(5):
        embed(network(), folder, store=place)
        (folder / "cats" / "0.png").touch()
    assert len(list((place / "images.lance" / "_versions").iterdir())) <= 3
    assert len(list((place / "images.lance" / "data").glob("*.lance"))) <= 2


WRITER = """
import sys, torch
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(1)
from test_embedding_store import network
from convscope import embed
from convscope.embedding import filling
filling.WRITE_ROWS = 8
print("ready", flush=True)
embed(network(), sys.argv[2], store=sys.argv[3])
"""


def writer(folder: Path, place: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(Path(__file__).parent), str(folder), str(place)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_processes_at_once_leave_each_row_once(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for i in range(150):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(folder / "cats" / f"more {i}.png")
    both = [writer(folder, tmp_path / "s.lance") for _ in range(2)]
    for process in both:
        process.communicate(timeout=120)
    assert [process.returncode for process in both] == [0, 0]
    paths = EmbeddingStore.open(tmp_path / "s.lance").to_arrow(["path"])["path"].to_pylist()
    assert len(paths) == len(set(paths)) == 162


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_where_it_stood(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for i in range(200):
        Image.fromarray(rng.integers(0, 255, (200, 200, 3), np.uint8)).save(folder / "cats" / f"more {i}.png")
    place, counts = tmp_path / "s.lance", [0]
    for _ in range(3):
        process = writer(folder, place)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.1, 1.0))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        if (place / "images.lance").exists():
            counts.append(len(EmbeddingStore.open(place)))
    assert counts == sorted(counts)
    store = embed(network(), folder, store=place)
    rows = sorted(store.to_arrow(["path", "id", "vector"]).to_pylist(), key=lambda r: r["path"])
    undisturbed = embed(network(), folder, store=tmp_path / "other.lance").to_arrow(["path", "id", "vector"])
    assert rows == sorted(undisturbed.to_pylist(), key=lambda r: r["path"])


def test_threads_of_one_process(folder: Path, tmp_path: Path) -> None:
    failed: list[BaseException] = []
    model = network()

    def run() -> None:
        try:
            embed(model, folder, store=tmp_path / "s.lance")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(EmbeddingStore.open(tmp_path / "s.lance")) == 12


def test_reading_columns_and_conditions(folder: Path, tmp_path: Path) -> None:
    store = embed(network(), folder, store=tmp_path / "s.lance")
    assert store.count("label = 'cats'") == 6
    assert store.to_arrow(["path"], where="label = 'cats'").num_rows == 6
    with pytest.raises(ParameterError, match="no column 'nothing'"):
        store.to_arrow(["nothing"])
    with pytest.raises(ParameterError, match="where="):
        store.count("nothing = 3")
    with pytest.raises(ParameterError, match="where="):
        store.to_arrow(["path"], where="label ==== 3")


def test_interrupted_is_a_keyboard_interrupt() -> None:
    assert issubclass(Interrupted, KeyboardInterrupt)


def test_what_was_found_out_about_a_picture_goes_with_it(folder: Path, tmp_path: Path) -> None:
    store = embed(network(), folder, store=tmp_path / "s.lance")
    cluster(store, method="kmeans", n_clusters=2)
    project(store)
    changed = str(folder / "cats" / "0.png")
    Image.new("RGB", (9, 9), "red").save(changed)
    embed(network(), folder, store=tmp_path / "s.lance")
    rows = store.to_arrow(["path", "cluster", "pca_x"]).to_pylist()
    assert [row["path"] for row in rows if row["cluster"] is None or row["pca_x"] is None] == [changed]


def test_a_file_that_is_listed_twice_is_one_row(folder: Path, tmp_path: Path) -> None:
    one = folder / "cats" / "0.png"
    store = embed(
        network(), [one, str(one), folder / "cats" / ".." / "cats" / "0.png"], store=tmp_path / "s.lance"
    )
    assert len(store) == 1
    pixels = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ImageError, match="two images are called 'it'"):
        embed(network(), [ImageSource("it", pixels), ImageSource("it", pixels + 1)], store=tmp_path / "s.lance")


def test_new_labels_of_old_files_are_taken_over(folder: Path, tmp_path: Path, counted: list[int]) -> None:
    embed(network(), folder, store=tmp_path / "s.lance")
    n_before = sum(counted)
    (tmp_path / "list.csv").write_text("path, label\nphotos/cats/0.png, lion\nphotos/cats/1.png,\n")
    store = embed(network(), tmp_path / "list.csv", store=tmp_path / "s.lance")
    labels = {Path(path).stem: label for path, label in store.by_path("label").items() if "cats" in path}
    assert (labels["0"], labels["1"], labels["2"]) == ("lion", None, "cats")
    assert sum(counted) == n_before


class Spoiled(nn.Module):
    """Gives something that is no number for pictures that are brighter than most."""

    def __init__(self, value: float, brightness: float) -> None:
        super().__init__()
        self.inner, self.value, self.brightness = network().module, value, brightness

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        is_bright = x.mean(dim=(1, 2, 3)) > self.brightness
        x = self.inner[:4](x)
        return self.inner[4](torch.where(is_bright[:, None], x * self.value, x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("value", "vectors"), [(np.nan, "float32"), (np.inf, "float32"), (1e9, "float16")])
def test_a_vector_that_is_no_number_is_an_error_of_its_row(
    folder: Path, tmp_path: Path, value: float, vectors: Any
) -> None:
    plain = network()
    brightness = torch.cat([batch.x.mean(dim=(1, 2, 3)) for batch in plain.batches(plain.inputs(folder))])
    middle = float(brightness.sort().values[5:7].mean())  # six on each side
    model = Model(Spoiled(value, middle), preprocessing=plain.preprocessing)
    store = embed(model, folder, store=tmp_path / "s.lance", layer="inner.4:input", vectors=vectors)
    assert len(store) == 12
    assert store.count("error LIKE '%gives NaN or infinite values in " + vectors + "'") == 6
    assert len(project(store).names) == 6
    assert neighbors(store, project(store).names[0], k=10).indices.shape == (1, 5)


def test_a_store_in_the_folder_of_its_images_is_no_image(folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert len(embed(network(), folder, store=folder / "s.lance")) == 12


@pytest.mark.skipif(sys.platform == "darwin", reason="no such names there")
def test_names_that_are_no_unicode_do_not_stop_a_folder(folder: Path, tmp_path: Path) -> None:
    os.rename(folder / "cats" / "0.png", os.fsencode(folder / "cats") + b"/\xff.png")
    for _ in range(2):
        store = embed(network(), folder, store=tmp_path / "s.lance")
        assert len(store) == 12
        assert store.count("error IS NULL AND path LIKE '%udcff.png'") == 1


def test_a_reader_sees_one_version(folder: Path, tmp_path: Path) -> None:
    store = embed(network(), folder, store=tmp_path / "s.lance")
    with store.reading():
        EmbeddingStore.open(tmp_path / "s.lance").delete("label = 'cats'")
        assert len(store) == store.count() == 12
    assert len(store) == 6


def test_a_damaged_store_is_said_to_be_one(folder: Path, tmp_path: Path) -> None:
    embed(network(), folder, store=tmp_path / "s.lance")
    for file in (tmp_path / "s.lance" / "images.lance" / "_versions").iterdir():
        file.write_bytes(b"no manifest")
    with pytest.raises(StoreError, match="is damaged, gone"):
        EmbeddingStore.open(tmp_path / "s.lance")
    with pytest.raises(StoreError, match="is damaged, gone"):
        embed(network(), folder, store=tmp_path / "s.lance")


@pytest.mark.parametrize("place", [5, None, ""])
def test_what_is_no_place(place: Any) -> None:
    with pytest.raises(ParameterError, match=r"place=.*: expected a path"):
        EmbeddingStore.open(place)


def test_rows_that_are_not_there_are_an_error(folder: Path, tmp_path: Path) -> None:
    store = embed(network(), folder, store=tmp_path / "s.lance")
    beyond = np.array([store.rows[0], 10**12])
    for ask in (store.take, store.vectors_of):
        with pytest.raises(StoreError, match="1 of 2 rows are not there"):
            ask(beyond)
    assert store.vectors_of(beyond[:0]).shape == (0, 20)
    assert store.take(beyond[:0]).names == ()


def test_conditions_are_told_as_they_were_given(folder: Path, tmp_path: Path) -> None:
    store = embed(network(), folder, store=tmp_path / "s.lance")
    for where in ("zz", "", 5):
        with pytest.raises(ParameterError, match=f"where={where!r}: ") as caught:
            neighbors(store, np.zeros(20, np.float32), where=where)  # type: ignore[arg-type]
        assert "error IS NULL" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "trouble"),
    [
        ("labl = 'cats'", "there is no column 'labl'"),
        ("label = cats", "there is no column 'cats'"),
        ("probability > 'high'", "compared with a value of another type"),
        ("label =", "cannot be read as a condition"),
        ("label == 'cats", "cannot be read as a condition"),
        ("CAST(label AS INT) = 3", "compared with a value of another type"),
        ("sum(width) > 3", "cannot be read as a condition"),
    ],
)
def test_a_mistyped_condition_is_answered_in_plain_words(
    folder: Path, tmp_path: Path, where: str, trouble: str
) -> None:
    store = embed(network(), folder, store=tmp_path / "s.lance")
    for ask in (store.count, store.delete, lambda where: store.to_arrow(["path"], where)):
        with pytest.raises(ParameterError, match=trouble) as caught:
            ask(where)
        said = str(caught.value)
        assert "texts stand in single quotes" in said
        assert "path, id, label, predicted" in said
        assert not any(word in said for word in ("lance", "Schema", "SQL", ".rs", "thumbnail"))
    assert len(store) == 12


@pytest.mark.parametrize("name", ["a\nb.lance", "a\tb", "a\x7fb", "caf\udce9", "s3://a\nb"])
def test_a_place_that_lancedb_would_take_for_another_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (name, Path(name)):
        for use in (
            lambda place: EmbeddingStore.of_vectors(place, np.eye(3, dtype=np.float32)),
            EmbeddingStore.open,
        ):
            with pytest.raises(ParameterError, match="a store's name is UTF-8 without control characters"):
                use(place)
    assert list(tmp_path.iterdir()) == []
