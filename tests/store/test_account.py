"""Rows follow their files: moved, changed, touched, relabeled, gone, and out of reach."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

from convscope import (
    EmbeddingStore,
    Model,
    ModelError,
    ParameterError,
    StoreError,
    attribute_dataset,
    cluster,
    embed,
    neighbors,
    project,
)
from convscope.embedding import filling, reading
from convscope.errors import UnavailableError
from convscope.images import ImageSource
from convscope.store.account import StoreChanges
from convscope.store.presence import presence, remembered_folders


@pytest.fixture
def network() -> Model:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 3))
    return Model(module, input_size=(16, 16), mean=[0.5] * 3, std=[0.2] * 3, labels=["cats", "dogs", "birds"])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of six pictures."""
    rng = np.random.default_rng(0)
    for label in ("cats", "dogs"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)).save(
                tmp_path / "photos" / label / f"{i}.png"
            )
    return tmp_path / "photos"


def repaint(file: Path, seed: int = 1) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (21, 30, 3), np.uint8)
    Image.fromarray(pixels).save(file)


def changes(store: EmbeddingStore) -> StoreChanges:
    assert store.changes is not None
    return store.changes


def counts(store: EmbeddingStore) -> tuple[int, int, int, int, int, int]:
    c = changes(store)
    return c.new, c.changed, c.moved, c.relabeled, c.gone, c.out_of_reach


def test_each_kind_is_counted(photos: Path, tmp_path: Path, network: Model) -> None:
    place = tmp_path / "s.lance"
    assert counts(embed(network, photos, store=place)) == (12, 0, 0, 0, 0, 0)
    assert counts(embed(network, photos, store=place)) == (0, 0, 0, 0, 0, 0)
    repaint(photos / "cats" / "0.png")
    (photos / "cats" / "1.png").rename(photos / "cats" / "one.png")
    (photos / "cats" / "2.png").unlink()
    repaint(photos / "cats" / "new.png", 2)
    assert counts(embed(network, photos, store=place)) == (1, 1, 1, 0, 1, 0)
    assert counts(embed(network, photos, store=place)) == (0, 0, 0, 0, 1, 0)


@pytest.mark.parametrize("runner", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_moved_folder_keeps_all_that_was_found_out(
    photos: Path, tmp_path: Path, network: Model, runner: Any
) -> None:
    place = tmp_path / "s.lance"
    store = embed(network, photos, store=place)
    cluster(store, method="kmeans", n_clusters=2)
    project(store)
    before = {Path(r["path"]).name + r["label"]: r for r in store.to_arrow().to_pylist()}
    photos.rename(tmp_path / "elsewhere")
    store = embed(network, tmp_path / "elsewhere", store=place, runner=runner)
    assert counts(store) == (0, 0, 12, 0, 0, 0)
    after = {Path(r["path"]).name + r["label"]: r for r in store.to_arrow().to_pylist()}
    assert after.keys() == before.keys()
    for name, row in after.items():
        assert Path(row["path"]).exists()
        for column in ("id", "cluster", "pca_x", "vector", "thumbnail", "predicted"):
            assert row[column] == before[name][column]
    kept = store.fits.recall("clusters")
    assert kept is not None
    assert all(Path(path).exists() for path in kept[0]["representatives"])


def test_copies_among_moved_files_keep_their_names(photos: Path, tmp_path: Path, network: Model) -> None:
    shutil.copy(photos / "cats" / "0.png", photos / "cats" / "copy.png")
    place = tmp_path / "s.lance"
    embed(network, photos, store=place)
    (photos / "cats").rename(photos / "felines")
    store = embed(network, photos, store=place)
    assert counts(store)[:3] == (0, 0, 7)
    assert {Path(p).name for p in store.by_path("label")} == {*(f"{i}.png" for i in range(6)), "copy.png"}
    assert sorted(set(store.by_path("label").values())) == ["dogs", "felines"]


def test_a_copy_of_a_file_that_is_there_is_new(photos: Path, tmp_path: Path, network: Model) -> None:
    embed(network, photos, store=tmp_path / "s.lance")
    shutil.copy(photos / "cats" / "0.png", photos / "dogs" / "copy.png")
    assert counts(embed(network, photos, store=tmp_path / "s.lance"))[:3] == (1, 0, 0)


def test_a_file_that_was_only_touched_keeps_what_was_found_out(
    photos: Path, tmp_path: Path, network: Model
) -> None:
    store = embed(network, photos, store=tmp_path / "s.lance")
    cluster(store, method="kmeans", n_clusters=2)
    os.utime(photos / "cats" / "0.png", (1, 1))
    store = embed(network, photos, store=tmp_path / "s.lance")
    assert counts(store)[:3] == (0, 0, 0)
    assert None not in store.by_path("cluster").values()


def test_rows_of_gone_files_take_part_in_no_answer_unless_asked(
    photos: Path, tmp_path: Path, network: Model
) -> None:
    place = tmp_path / "s.lance"
    embed(network, photos, store=place)
    shutil.copy(photos / "cats" / "0.png", tmp_path / "ghost.png")
    store = embed(network, tmp_path / "ghost.png", store=place)
    cat = photos / "cats" / "0.png"
    assert neighbors(store, cat, k=1).names == (str(tmp_path / "ghost.png"),)
    shutil.copy(photos / "cats" / "1.png", tmp_path / "other.png")
    embed(network, tmp_path / "other.png", store=place)
    (photos / "cats" / "2.png").unlink()
    store = embed(network, photos, store=place)
    gone = str(photos / "cats" / "2.png")
    assert store.by_path("gone", "gone") == {gone: True}
    assert gone not in neighbors(store, cat, k=13).names
    assert gone in neighbors(store, cat, k=14, where="gone IS NULL OR gone").names
    assert gone not in project(store).names
    assert gone not in cluster(store, method="kmeans", n_clusters=2).names
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(gone)  # another picture at its place
    store = embed(network, photos, store=place)
    assert counts(store)[1] == 1
    assert store.count("gone") == 0


def test_a_file_that_comes_back_counts_again(photos: Path, tmp_path: Path, network: Model) -> None:
    place, cat = tmp_path / "s.lance", photos / "cats" / "0.png"
    embed(network, photos, store=place)
    cat.rename(tmp_path / "kept.png")
    assert embed(network, photos, store=place).count("gone") == 1
    (tmp_path / "kept.png").rename(cat)
    store = embed(network, photos, store=place)
    assert store.count("gone") == 0
    assert counts(store) == (0, 0, 0, 0, 0, 0)


def test_a_folder_that_is_not_there_is_out_of_reach_and_not_gone(
    photos: Path, tmp_path: Path, network: Model
) -> None:
    place = tmp_path / "s.lance"
    embed(network, photos, store=place)
    repaint(tmp_path / "more.png")
    (photos).rename(tmp_path / "unplugged")
    store = embed(network, tmp_path / "more.png", store=place)
    assert counts(store) == (1, 0, 0, 0, 0, 12)
    assert neighbors(store, tmp_path / "more.png", k=12).indices.shape == (1, 12)
    with pytest.raises(StoreError, match=r"photos none is there any more .*not connected.*--yes"):
        store.prune()
    assert len(store) == 13
    assert store.prune(confirmed=True) == 12


def test_an_empty_mount_point_is_no_deleted_folder(photos: Path, tmp_path: Path, network: Model) -> None:
    place = tmp_path / "s.lance"
    embed(network, photos, store=place)
    repaint(tmp_path / "more.png")
    photos.rename(tmp_path / "unplugged")
    photos.mkdir()
    store = embed(network, tmp_path / "more.png", store=place)
    assert counts(store)[4:] == (0, 12)
    with pytest.raises(StoreError, match="not connected"):
        store.prune()


def test_a_class_folder_that_was_deleted_is_gone(photos: Path, tmp_path: Path, network: Model) -> None:
    place = tmp_path / "s.lance"
    embed(network, photos, store=place)
    shutil.rmtree(photos / "cats")
    store = embed(network, photos, store=place)
    assert counts(store)[4:] == (6, 0)
    assert store.count(store.in_use()) == 6
    with pytest.raises(StoreError, match="cats none is there any more"):  # or is it a disk that was mounted there?
        store.prune()
    assert store.prune(confirmed=True) == 6


def test_more_than_half_of_the_rows_are_removed_only_when_confirmed(
    photos: Path, tmp_path: Path, network: Model
) -> None:
    place = tmp_path / "s.lance"
    store = embed(network, photos, store=place)
    for label, n in (("cats", 5), ("dogs", 3)):
        for i in range(n):
            (photos / label / f"{i}.png").unlink()
    with pytest.raises(StoreError, match="8 of 12 rows are gone"):
        store.prune()
    assert len(store) == 12
    assert store.prune(confirmed=True) == 8


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_file_that_may_not_be_looked_at_is_not_gone(
    photos: Path, tmp_path: Path, network: Model, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    place = tmp_path / "s.lance"
    store = embed(network, photos, store=place)
    stat = os.stat

    def guarded(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if "cats" in str(path) and str(path).endswith(".png"):
            raise error
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", guarded)
    assert presence(str(photos / "cats" / "0.png")) == "out of sight"
    assert store.prune() == 0
    assert store.prune(confirmed=True) == 0
    assert len(store) == 12


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_chmod_hides_is_not_gone(photos: Path, tmp_path: Path, network: Model) -> None:
    place = tmp_path / "s.lance"
    embed(network, photos, store=place)
    (photos / "cats").chmod(0)
    try:
        store = embed(network, photos / "dogs", store=place)
        assert store.prune(confirmed=True) == 0
        assert counts(store)[4:] == (0, 6)
    finally:
        (photos / "cats").chmod(0o755)


def test_a_link_that_leads_nowhere_now_is_not_gone(photos: Path, tmp_path: Path, network: Model) -> None:
    repaint(tmp_path / "far.png")
    (photos / "cats" / "link.png").symlink_to(tmp_path / "far.png")
    store = embed(network, photos, store=tmp_path / "s.lance")
    (tmp_path / "far.png").unlink()
    assert store.prune(confirmed=True) == 0


def test_what_is_out_of_reach_for_a_while_is_tried_again_and_replaces_nothing(
    photos: Path, tmp_path: Path, network: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, cat = tmp_path / "s.lance", photos / "cats" / "0.png"
    embed(network, [photos / "dogs", photos / "cats" / "1.png"], store=place)
    opening, is_down = reading.open_image, True

    def failing(source: Any, **options: Any) -> Any:
        if is_down and "cats" in source.name:
            raise UnavailableError(f"{source.name}: cannot be read (Input/output error)")
        return opening(source, **options)

    monkeypatch.setattr(reading, "open_image", failing)
    repaint(photos / "cats" / "1.png")
    store = embed(network, photos, store=place)
    found = changes(store)
    assert (found.new, found.changed, found.failed) == (5, 0, 6)
    assert store.by_path("error")[str(photos / "cats" / "1.png")] is None  # still the older row
    assert "Input/output" in store.by_path("error")[str(cat)]
    is_down = False
    store = embed(network, photos, store=place)
    assert store.count("error IS NOT NULL") == 0
    assert changes(store).changed == 6  # the one that was repainted, and five that had no vector


def test_labels_of_a_parent_folder_change_nothing_and_are_told(
    photos: Path, tmp_path: Path, network: Model
) -> None:
    place = tmp_path / "s.lance"
    embed(network, photos, store=place)
    store = embed(network, tmp_path, store=place)
    assert sorted(set(store.by_path("label").values())) == ["cats", "dogs"]
    assert counts(store)[3] == 0
    assert "12 rows keep their labels (such as 'cats', not 'photos')" in " ".join(changes(store).notes)


def test_labels_of_a_table_are_changed_emptied_and_trimmed(photos: Path, tmp_path: Path, network: Model) -> None:
    place, listed = tmp_path / "s.lance", tmp_path / "list.csv"
    embed(network, photos, store=place)
    listed.write_text("path,label\nphotos/cats/0.png,lion \nphotos/cats/1.png,\nphotos/cats/2.png,cats\n")
    store = embed(network, listed, store=place)
    labels = {Path(p).stem: label for p, label in store.by_path("label").items() if "cats" in p}
    assert (labels["0"], labels["1"], labels["2"], labels["3"]) == ("lion", None, "cats", "cats")
    assert counts(store)[3] == 2


def test_a_file_alone_takes_no_label_away(photos: Path, tmp_path: Path, network: Model) -> None:
    place, cat = tmp_path / "s.lance", photos / "cats" / "0.png"
    embed(network, photos, store=place)
    repaint(cat)
    store = embed(network, cat, store=place)
    assert store.by_path("label")[str(cat)] == "cats"


def test_a_file_with_two_labels_is_told(photos: Path, tmp_path: Path, network: Model) -> None:
    images = [ImageSource(name, photos / "cats" / "0.png", label) for name, label in (("a", "cat"), ("b", "dog"))]
    store = embed(network, images, store=tmp_path / "s.lance")
    assert "'cat' and 'dog'" in " ".join(changes(store).notes)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_names_that_are_no_utf8_are_kept_and_found(photos: Path, tmp_path: Path, network: Model) -> None:
    odd = os.fsdecode(os.fsencode(photos / "cats") + b"/a\xff.png")
    shutil.copy(photos / "cats" / "0.png", odd)
    embed(network, photos, store=tmp_path / "s.lance")
    store = embed(network, photos, store=tmp_path / "s.lance")
    assert counts(store) == (0, 0, 0, 0, 0, 0)
    assert store.prune() == 0
    assert len(store) == 13
    assert neighbors(store, odd, k=1).names == (str(photos / "cats" / "0.png"),)
    os.rename(odd, os.fsdecode(os.fsencode(photos / "cats") + b"/b\xfe.png"))
    assert counts(embed(network, photos, store=tmp_path / "s.lance"))[:3] == (0, 0, 1)


def test_an_older_store_without_the_column_gets_it_when_a_file_is_gone(
    photos: Path, tmp_path: Path, network: Model
) -> None:
    place = tmp_path / "s.lance"
    with embed(network, photos, store=place).table.writing() as table:
        table.drop_columns(["gone"])
    store = embed(network, photos, store=place)
    assert "gone" not in store.schema.names
    assert neighbors(store, photos / "cats" / "0.png", k=3).indices.shape == (1, 3)
    (photos / "cats" / "0.png").unlink()
    assert embed(network, photos, store=place).count("gone") == 1


def test_a_move_that_is_cut_short_loses_nothing(
    photos: Path, tmp_path: Path, network: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "s.lance"
    store = embed(network, photos, store=place)
    cluster(store, method="kmeans", n_clusters=2)
    photos.rename(tmp_path / "elsewhere")
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingStore, "delete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            embed(network, tmp_path / "elsewhere", store=place)
    store = embed(network, tmp_path / "elsewhere", store=place)
    assert store.count("cluster IS NOT NULL AND path LIKE '%elsewhere%'") == 12
    assert len(store) == 12
    assert store.fits.recall("moves") is None


def test_what_is_kept_beside_the_rows_is_bounded(photos: Path, tmp_path: Path, network: Model) -> None:
    store = embed(network, [photos / "cats", photos / "dogs"], store=tmp_path / "s.lance")
    store = embed(network, [photos / "cats", photos / "dogs"], store=tmp_path / "s.lance")
    assert remembered_folders(store.fits) == [str(photos / "cats"), str(photos / "dogs")]


def test_vectors_that_were_brought_along_are_never_missing(tmp_path: Path) -> None:
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", np.eye(3), names=["a", "/not/there.png", "c"])
    assert store.prune(confirmed=True) == 0
    assert isinstance(store.to_arrow(["path"]), pa.Table)


def test_a_gone_file_stays_gone_when_its_disk_goes(photos: Path, tmp_path: Path, network: Model) -> None:
    place = tmp_path / "s.lance"
    embed(network, photos, store=place)
    (photos / "cats" / "0.png").unlink()
    embed(network, photos, store=place)
    repaint(tmp_path / "more.png")
    photos.rename(tmp_path / "unplugged")
    store = embed(network, tmp_path / "more.png", store=place)
    assert store.count("gone") == 1
    assert store.count(store.in_use()) == 12


def test_a_text_that_holds_the_word_gone_asks_for_no_gone_rows(
    photos: Path, tmp_path: Path, network: Model
) -> None:
    embed(network, photos, store=tmp_path / "s.lance")
    (photos / "cats" / "0.png").unlink()
    store = embed(network, photos, store=tmp_path / "s.lance")
    where = "label != 'gone fishing' AND label != 'it''s gone'"
    assert store.count(store.in_use(where)) == 11
    assert store.count(store.in_use("gone OR gone IS NULL")) == 12


def test_a_file_that_comes_back_has_no_cluster_of_an_older_run(
    photos: Path, tmp_path: Path, network: Model
) -> None:
    place, cat = tmp_path / "s.lance", photos / "cats" / "0.png"
    store = embed(network, photos, store=place)
    cluster(store, method="kmeans", n_clusters=9)
    project(store)
    cat.rename(tmp_path / "kept.png")
    store = embed(network, photos, store=place)
    cluster(store, method="kmeans", n_clusters=2)
    project(store)
    (tmp_path / "kept.png").rename(cat)
    store = embed(network, photos, store=place)
    assert store.by_path("cluster")[str(cat)] is None
    assert store.by_path("pca_x")[str(cat)] is None
    assert store.count("cluster IS NOT NULL AND pca_x IS NOT NULL") == 11


def listing(folder: Path, labels: dict[str, str]) -> Path:
    table = folder / "list.csv"
    table.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in labels.items()))
    return table


def by_name(store: EmbeddingStore, column: str) -> dict[str, Any]:
    return {"/".join(Path(path).parts[-2:]): value for path, value in store.by_path(column).items()}


def test_files_that_change_places_keep_what_is_theirs(photos: Path, tmp_path: Path, network: Model) -> None:
    place = tmp_path / "s.lance"
    embed(network, photos, store=place)
    embed(network, listing(tmp_path, {"photos/cats/0.png": "lion", "photos/cats/1.png": "tiger"}), store=place)
    store = EmbeddingStore.open(place)
    cluster(store, method="kmeans", n_clusters=9)
    before = {name: by_name(store, name) for name in ("id", "cluster")}
    (photos / "cats" / "0.png").rename(photos / "x")
    (photos / "cats" / "1.png").rename(photos / "cats" / "0.png")
    (photos / "x").rename(photos / "cats" / "1.png")
    store = embed(network, photos, store=place)
    assert counts(store)[:4] == (0, 0, 2, 0)
    labels = by_name(store, "label")
    assert (labels["cats/0.png"], labels["cats/1.png"]) == ("tiger", "lion")
    for name, old in before.items():
        new = by_name(store, name)
        assert (new["cats/0.png"], new["cats/1.png"]) == (old["cats/1.png"], old["cats/0.png"])


def test_a_chain_of_renames_with_a_new_file_at_its_head(photos: Path, tmp_path: Path, network: Model) -> None:
    place = tmp_path / "s.lance"
    embed(network, photos, store=place)
    embed(network, listing(tmp_path, {f"photos/cats/{i}.png": f"L{i}" for i in range(6)}), store=place)
    for i in reversed(range(6)):
        (photos / "cats" / f"{i}.png").rename(photos / "cats" / f"{i + 1}.png")
    repaint(photos / "cats" / "0.png")
    store = embed(network, photos, store=place)
    assert counts(store)[:3] == (0, 1, 6)
    labels = by_name(store, "label")
    assert [labels[f"cats/{i + 1}.png"] for i in range(6)] == [f"L{i}" for i in range(6)]
    assert len(store) == 13


def test_files_of_one_size_and_time_that_change_places_are_noticed(
    photos: Path, tmp_path: Path, network: Model
) -> None:
    one, two = photos / "cats" / "0.bmp", photos / "cats" / "1.bmp"
    for file, shade in ((one, 10), (two, 200)):
        Image.fromarray(np.full((20, 30, 3), shade, np.uint8)).save(file)
        os.utime(file, (1e9, 1e9))
    store = embed(network, photos, store=tmp_path / "s.lance")
    before = by_name(store, "id")
    one.rename(photos / "x")
    two.rename(one)
    (photos / "x").rename(two)
    store = embed(network, photos, store=tmp_path / "s.lance")
    assert by_name(store, "id")["cats/0.bmp"] == before["cats/1.bmp"]


def test_a_label_that_a_table_gave_outlives_a_rename(photos: Path, tmp_path: Path, network: Model) -> None:
    place = tmp_path / "s.lance"
    embed(network, photos, store=place)
    embed(network, listing(tmp_path, {"photos/cats/0.png": "lion"}), store=place)
    (photos / "cats" / "0.png").rename(photos / "cats" / "zero.png")
    (photos / "cats" / "1.png").rename(photos / "dogs" / "one.png")
    store = embed(network, photos, store=place)
    labels = by_name(store, "label")
    assert (labels["cats/zero.png"], labels["dogs/one.png"]) == ("lion", "dogs")
    assert counts(store)[2:4] == (2, 1)


def test_a_folder_that_was_renamed_below_its_parent_keeps_its_labels(
    photos: Path, tmp_path: Path, network: Model
) -> None:
    embed(network, photos, store=tmp_path / "s.lance")
    photos.rename(tmp_path / "elsewhere")
    store = embed(network, tmp_path, store=tmp_path / "s.lance")
    assert counts(store)[:4] == (0, 0, 12, 0)
    assert sorted(set(store.by_path("label").values())) == ["cats", "dogs"]


def test_a_linked_disk_that_is_away_is_not_gone(photos: Path, tmp_path: Path, network: Model) -> None:
    (photos / "cats").rename(tmp_path / "disk")
    (photos / "cats").symlink_to(tmp_path / "disk")
    store = embed(network, photos, store=tmp_path / "s.lance")
    assert len(store) == 12
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    store = embed(network, photos / "dogs", store=tmp_path / "s.lance")
    assert counts(store)[4:] == (0, 6)
    assert store.prune(confirmed=True) == 0


def test_a_folder_that_was_searched_again_shows_what_is_gone(photos: Path, tmp_path: Path, network: Model) -> None:
    place = tmp_path / "s.lance"
    embed(network, photos / "cats", store=place)
    embed(network, photos, store=place)
    shutil.rmtree(photos / "cats")
    assert counts(embed(network, photos, store=place))[4:] == (6, 0)


def test_a_folder_in_place_of_a_file_is_no_image(photos: Path, tmp_path: Path, network: Model) -> None:
    embed(network, photos, store=tmp_path / "s.lance")
    (photos / "cats" / "0.png").unlink()
    (photos / "cats" / "0.png").mkdir()
    assert counts(embed(network, photos, store=tmp_path / "s.lance"))[4] == 1


def test_a_file_that_was_never_there_gets_no_row(photos: Path, tmp_path: Path, network: Model) -> None:
    table = listing(tmp_path, {"photos/cats/0.png": "cat", "photos/nope.png": "x"})
    store = embed(network, table, store=tmp_path / "s.lance")
    assert len(store) == 1
    assert (changes(store).new, changes(store).failed) == (1, 1)
    assert "nope.png" in changes(store).skipped[0]


def test_images_without_files_that_replace_others_are_told(tmp_path: Path, network: Model) -> None:
    for shade in (0, 200):
        images = np.full((4, 20, 20, 3), shade, np.uint8)
        store = embed(network, images, store=tmp_path / "s.lance")
    assert changes(store).changed == 4
    assert "4 images without a file replaced others of the same name" in changes(store).notes[0]


def test_a_query_whose_file_has_changed_is_told(photos: Path, tmp_path: Path, network: Model) -> None:
    store = embed(network, photos, store=tmp_path / "s.lance")
    cat = photos / "cats" / "0.png"
    assert neighbors(store, cat).provenance.notes == ()
    repaint(cat)
    assert "1 of these files have changed since they were embedded" in neighbors(store, cat).provenance.notes[0]


def test_no_attribution_of_another_picture_is_put_into_a_row(photos: Path, tmp_path: Path, network: Model) -> None:
    store = embed(network, photos, store=tmp_path / "s.lance")
    repaint(photos / "cats" / "0.png")
    attribute_dataset(network, store, method="saliency")
    assert store.by_path("saliency_focus")[str(photos / "cats" / "0.png")] is None
    assert store.count("saliency_focus IS NOT NULL") == 11


def test_weights_that_change_while_a_store_is_filled_mix_no_vectors(
    photos: Path, tmp_path: Path, network: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "WRITE_ROWS", 4)
    expected = dict(zip(*_vectors(network, photos), strict=True))

    def disturb(done: int, total: int) -> None:
        if done == 8:
            with torch.no_grad():
                next(network.module.parameters()).add_(1)

    with pytest.raises(ModelError, match=r"weights .* have changed"):
        embed(network, photos, store=tmp_path / "s.lance", progress=disturb)
    store = EmbeddingStore.open(tmp_path / "s.lance")
    for name, vector in store.by_path("vector").items():
        np.testing.assert_allclose(vector, expected[name], atol=1e-5)


def _vectors(network: Model, photos: Path) -> tuple[tuple[str, ...], Any]:
    found = embed(network, photos)
    return found.names, found.vectors


@pytest.mark.parametrize(
    "where", ["label = 'cats' -- only these", "label = 'cats'; drop", "label = 'x' /* gone */"]
)
def test_a_condition_has_no_comments(photos: Path, tmp_path: Path, network: Model, where: str) -> None:
    store = embed(network, photos, store=tmp_path / "s.lance")
    with pytest.raises(ParameterError, match="expected one condition, without"):
        neighbors(store, photos / "cats" / "0.png", where=where)
    assert neighbors(store, photos / "cats" / "0.png", where="path LIKE '%;--%' OR label = 'cats'", k=2)


def test_a_damaged_table_of_fits_is_named(photos: Path, tmp_path: Path, network: Model) -> None:
    store = embed(network, photos, store=tmp_path / "s.lance")
    for file in (tmp_path / "s.lance" / "fits.lance" / "data").iterdir():
        file.write_bytes(b"x")
    with pytest.raises(StoreError, match=r"fits\.lance \(maps, clusters and the index; removed"):
        EmbeddingStore.open(store.place).fits.recall("clusters")
