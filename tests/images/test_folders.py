"""What is found in a folder: every image however it got there, nothing else, and nothing lost without a word."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope import ImageError, load_images
from convscope.errors import UnavailableError
from convscope.images import folders
from convscope.results import Filters, Provenance


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), "red").save(path, "PNG")
    return path


def relative(found: object, root: Path) -> list[str]:
    return [os.path.relpath(name, root) for name in found.names]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a/cat/1.png", "elsewhere/1.png", "elsewhere/deep/2.png"):
        photo(tmp_path / name)
    return tmp_path / "a"


# --- links -------------------------------------------------------------------------------------------------------


def test_a_class_folder_may_be_a_link_and_is_called_as_the_link(root: Path) -> None:
    (root / "coffee").symlink_to("../elsewhere")
    found = load_images(root)
    assert relative(found, root) == ["cat/1.png", "coffee/1.png", "coffee/deep/2.png"]
    assert found.labels == ("cat", "coffee", "coffee")
    assert found.notes == ()
    assert found[2].shape == (3, 4, 3)


@pytest.mark.parametrize("target", [".", "..", "../..", "cat"])
def test_a_link_back_up_or_to_what_is_in_the_folder_anyway_is_left_out_and_told(root: Path, target: str) -> None:
    (root / "again").symlink_to(target)
    (root / "bad").symlink_to("bad")
    found = load_images(root)
    assert relative(found, root) == ["bad", "cat/1.png"]
    assert found.labels == (None, "cat"), "the folder keeps its own name, though the link sorts before it"
    assert found.notes == (f"left out 1 link back up or to folders that are read anyway: {root / 'again'}",)


def test_two_links_that_lead_to_one_another_end(tmp_path: Path) -> None:
    photo(tmp_path / "a" / "1.png")
    photo(tmp_path / "b" / "2.png")
    (tmp_path / "a" / "to_b").symlink_to("../b")
    (tmp_path / "b" / "to_a").symlink_to("../a")
    assert relative(load_images(tmp_path / "a"), tmp_path) == ["a/1.png", "a/to_b/2.png"]
    assert relative(load_images(tmp_path), tmp_path) == ["a/1.png", "b/2.png"]


def test_the_order_does_not_hang_on_that_of_the_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(5):
        (root / f"link{i}").symlink_to("../elsewhere/deep" if i % 2 else "../elsewhere")
    expected = load_images(root)

    class Reversed:
        def __init__(self, folder: object) -> None:
            with scandir(folder) as entries:
                self._entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> Iterator[object]:
            return iter(self._entries)

        def __exit__(self, *args: object) -> None: ...
        def close(self) -> None: ...

    scandir = os.scandir
    monkeypatch.setattr(folders.os, "scandir", Reversed)
    found = load_images(root)
    assert (found.names, found.labels, found.notes) == (expected.names, expected.labels, expected.notes)


def test_a_pattern_follows_links_once(root: Path) -> None:
    (root / "coffee").symlink_to("../elsewhere")
    (root / "loop").symlink_to(".")
    found = load_images(str(root / "**" / "*.png"))
    assert relative(found, root) == ["cat/1.png", "coffee/1.png", "coffee/deep/2.png"]
    assert "loop" in found.notes[0]


# --- what is no image --------------------------------------------------------------------------------------------


def test_a_pattern_tells_the_folder_that_it_searched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    for pattern, folder in (
        (str(root / "*" / "*.png"), root),
        (root / "cat" / "?.png", root / "cat"),
        (root / "**" / "1.png", root),
        ("cat/*.png", Path("cat")),
        ("[c]at/1.png", Path()),
        ("*/1.png", Path()),
    ):
        assert load_images(pattern).folders == (folder,)
    assert load_images(["cat/*.png", root]).folders == (Path("cat"), root)
    below = Path(root.anchor, "*", *root.parts[2:], "cat", "1.png")
    assert load_images(below).folders == (), "all disks are below that"


def test_files_that_are_no_images_are_left_out_and_counted_in_one_line(root: Path) -> None:
    for name in ("cat/1.txt", "cat/2.TXT", "a.json", "b.json", "Thumbs.db", "cat/Icon\r", "README", "clip.mp4"):
        (root / name).write_text("no image")
    found = load_images(root)
    assert relative(found, root) == ["cat/1.png"]
    kinds = "2 .json, 2 .txt, 1 .mp4, Icon, README, Thumbs.db"
    assert found.notes == (f"left out 8 files that are not images, judging by name or kind: {kinds}",)
    pattern = load_images(str(root / "*" / "*"))
    assert relative(pattern, root) == ["cat/1.png"]
    assert pattern.notes == ("left out 3 files that are not images, judging by name or kind: 2 .txt, Icon",)


def test_a_name_that_says_nothing_may_be_an_image(root: Path) -> None:
    for name in ("0a1b2c", "photo.dat", "scan.heic", "x.tmp"):
        photo(root / name)
    assert len(load_images(root)) == 5
    assert [p.shape for p in load_images(root)] == [(3, 4, 3)] * 5


def test_a_kind_that_a_plugin_of_the_user_opens_is_an_image(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "x.pdf").write_text("%PDF")
    assert len(load_images(root)) == 1
    monkeypatch.setitem(Image.OPEN, "PDF", (lambda file, name: None, None))
    monkeypatch.setitem(Image.EXTENSION, ".pdf", "PDF")
    assert len(load_images(root)) == 2


def test_a_folder_without_images_says_what_is_in_it(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(ImageError, match=r"holds no images; left out 2 files .*: 2 \.txt$"):
        load_images(tmp_path)
    with pytest.raises(ImageError, match=r"no image matches this pattern; left out 2 files"):
        load_images(str(tmp_path / "*.txt"))
    with pytest.raises(ImageError, match=r"a\.txt: not an image.*lists of images are"):
        load_images(tmp_path / "a.txt")[0]


def test_pipes_and_sockets_are_counted_and_never_opened(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(root / "pipe.png")
    (root / "link.png").symlink_to("pipe.png")
    monkeypatch.chdir(root)  # a socket's path has to be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
        found = load_images(root)
    assert relative(found, root) == ["cat/1.png"]
    note = "left out 3 files that are not images, judging by name or kind: 2 pipe, 1 socket or device"
    assert found.notes == (note,)


# --- convscope's own ---------------------------------------------------------------------------------------------


def test_results_and_stores_inside_a_folder_are_left_out_and_counted(root: Path) -> None:
    about = Provenance("filters", {}, {}, "cpu", {}, 0.0)
    weights = np.zeros((2, 3, 3, 3), np.float32)
    Filters(values=weights, layer="conv", provenance=about).save(root / "out" / "filters")
    photo(root / "out" / "photos" / "own.png")
    photo(root / "store" / "images.lance" / "data" / "1.png")
    (root / "store" / "images.lance" / "_versions").mkdir()
    photo(root / "rows.lance" / "_versions" / "1.png")
    for name in ("manifest.json", "arrays.npz"):  # somebody else's
        photo(root / "mine" / "1.png")
        (root / "mine" / name).write_text("{}")
    found = load_images(root)
    assert relative(found, root) == ["cat/1.png", "mine/1.png", "out/photos/own.png"]
    own = ", ".join(str(root / name) for name in ("out/filters", "rows.lance", "store"))
    assert f"left out 3 folders that convscope wrote: {own}" in found.notes
    assert relative(load_images(str(root / "*" / "*" / "*.png")), root) == ["out/photos/own.png"]
    assert len(load_images(root / "out" / "filters")) == 1, "who names it means it"


@pytest.mark.parametrize("name", ["images.lance", "arrays.npz"])
def test_a_store_or_folder_called_like_a_part_of_one_hides_no_photos_beside_it(root: Path, name: str) -> None:
    store = root / "cat" / name
    photo(store / "images.lance" / "data" / "1.png")
    (store / "images.lance" / "_versions").mkdir()
    (store / "fits.lance" / "_versions").mkdir(parents=True)
    for source in (root, str(root / "**" / "*.png"), str(root / "*" / "*.png")):
        assert relative(load_images(source), root) == ["cat/1.png"]
    assert f"left out 1 folder that convscope wrote: {store}" in load_images(root).notes


# --- folders that cannot be read ---------------------------------------------------------------------------------


@pytest.fixture
def locked(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    photo(root / "locked" / "2.png")
    scandir = os.scandir

    def refusing(folder: object = ".") -> object:
        if os.path.basename(os.fspath(folder)) == "locked":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(folders.os, "scandir", refusing)
    return root


def test_a_folder_that_cannot_be_looked_into_is_listed_as_skipped(locked: Path, tiny: object) -> None:
    sentence = f"{locked / 'locked'}: the folder cannot be read (Permission denied)"
    for source in (locked, str(locked / "*" / "*.png"), str(locked / "**" / "*.png")):
        found = load_images(source)
        assert relative(found, locked) == ["cat/1.png"]
        assert found.unreadable == (sentence,)
    prediction = tiny.predict(locked)
    assert prediction.provenance.skipped == (sentence,)
    assert len(prediction.names) == 1


def test_where_nothing_can_be_looked_into_another_try_may_succeed(locked: Path) -> None:
    with pytest.raises(UnavailableError, match="Permission denied"):
        load_images(locked / "locked")
    (locked / "cat" / "1.png").unlink()
    with pytest.raises(UnavailableError, match=r"locked: the folder cannot be read"):
        load_images(locked)


# --- lists, sets, names ------------------------------------------------------------------------------------------


def test_a_list_that_skips_goes_on_after_what_is_not_there(root: Path) -> None:
    (root / "empty").mkdir()
    wanted = [root / "gone.png", root / "cat" / "1.png", root / "no" / "folder", root / "empty"]
    with pytest.raises(UnavailableError, match=r"gone\.png: no such file"):
        load_images(wanted)
    found = load_images(wanted, on_error="skip")
    assert relative(found, root) == ["cat/1.png"]
    reasons = [text.rpartition(": ")[2] for text in found.unreadable]
    assert reasons == ["no such file or folder"] * 2 + ["the folder holds no images"]


def test_sets_in_a_list_stay_unopened_and_a_set_takes_options(root: Path) -> None:
    (root / "cat" / "bad.png").write_text("no image")
    (root / "a.txt").write_text("no image")
    one = load_images(root)
    assert load_images([one, one]).names == 2 * one.names
    assert load_images([one]).notes == one.notes
    assert not load_images(one, on_error="raise").skip_errors
    assert one.skip_errors
    assert load_images(one, background=(1, 2, 3)).background == (1, 2, 3)
    assert load_images(load_images(one, background=(1, 2, 3)), at_least=9).background == (1, 2, 3)


class Named(str):
    """A path of another kind."""


@pytest.mark.parametrize("name", [b"a\xff.png", b"a\x01\n.png", "ä ö.png".encode(), b"%s*?.png"])
def test_any_name_that_a_file_can_have_is_found(tmp_path: Path, name: bytes, tiny: object) -> None:
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
    photo(path)
    assert load_images(tmp_path).names == (str(path),)
    for way in (path, str(path), Named(path)):
        assert load_images(way)[0].shape == (3, 4, 3)
    assert tiny.predict(tmp_path).names == (str(path),)


@pytest.mark.parametrize(
    "odd",
    ["a\0b", "a\0*", "*/a\0*/*", "x" * 300, "x" * 300 + "*", "~nobody/*", b"a.png", bytearray(b"a"),
     memoryview(b"a"), [b"a.png"], ["a\0b"], [["x" * 300]], [None], "[", "**", Path("no") / "**" / "*"],
)  # fmt: skip
def test_impossible_paths_are_errors_of_images(
    tmp_path: Path, odd: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError):
        load_images(odd)[0]
