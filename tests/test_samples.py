"""The sample photos: twelve, real, offline; and the folder of views made of them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from convscope.errors import OutputError, ParameterError
from convscope.images import load_images
from convscope.samples import LONGEST_PX, PHOTOS, sample_photos, write_samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("samples") / "out", n_variants=3)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_twelve_photos() -> None:
    photos = sample_photos()
    assert list(photos) == list(PHOTOS)
    assert len(photos) == 12
    for pixels in photos.values():
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert pixels.std() > 10


def test_the_folder(folder: Path) -> None:
    originals = load_images(folder / "photos")
    assert [Path(name).stem for name in originals.names] == sorted(PHOTOS)
    for name, pixels in zip(sorted(PHOTOS), originals, strict=True):
        np.testing.assert_array_equal(pixels, sample_photos()[name])
    views = load_images(folder / "crops")
    assert views.labels == tuple(name for name in sorted(PHOTOS) for _ in range(3))
    assert [Path(name).name for name in views.names[:3]] == [f"astronaut-0{i}.jpg" for i in range(3)]


def test_the_views_differ_and_are_of_the_size_they_say(folder: Path) -> None:
    views = list(load_images(folder / "crops"))
    assert len({view.tobytes() for view in views}) == 36
    for view in views:
        height, width = view.shape[:2]
        assert max(height, width) <= LONGEST_PX
        assert 3 / 4 - 0.02 < width / height < 4 / 3 + 0.02
    brightness = [view.mean() for view in views[:3]]
    assert max(brightness) > 1.1 * min(brightness)


def test_the_same_seed_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    again = digests(write_samples(tmp_path / "again", n_variants=3))
    assert again == digests(folder)
    more = digests(write_samples(tmp_path / "more", n_variants=4))
    assert again.items() <= more.items()
    other = digests(write_samples(tmp_path / "other", n_variants=3, seed=1))
    assert all(other[name] != again[name] for name in again if name.startswith("crops"))


def test_the_same_call_again_finds_what_it_wrote(folder: Path, tmp_path: Path) -> None:
    there = tmp_path / "samples"
    shutil.copytree(folder, there)
    (there / ".DS_Store").touch()
    (there / "crops" / "cat" / ".thumbs").mkdir()
    (there / "crops" / "cat" / ".thumbs" / "cat.jpg").touch()
    before = {path: path.stat().st_mtime_ns for path in there.rglob("*")}
    assert write_samples(there, n_variants=3) == there
    assert {path: path.stat().st_mtime_ns for path in there.rglob("*")} == before


@pytest.mark.parametrize(
    "change", ["another number", "another seed", "one less", "one more", "one other", "a file"]
)
def test_it_does_not_write_over_anything_else(folder: Path, tmp_path: Path, change: str) -> None:
    there = tmp_path / "samples"
    shutil.copytree(folder, there)
    first = there / "crops" / "astronaut" / "astronaut-00.jpg"
    if change == "one less":
        first.unlink()
    elif change == "one more":
        shutil.copy(first, there / "crops" / "cat")
    elif change == "one other":
        first.write_bytes(first.read_bytes()[:-1])
    elif change == "a file":
        shutil.rmtree(there)
        there.write_text("mine")
    before = digests(tmp_path)
    with pytest.raises(OutputError, match="exists already"):
        write_samples(there, n_variants=2 if change == "another number" else 3, seed=int(change == "another seed"))
    assert digests(tmp_path) == before


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert write_samples(tmp_path / "empty", n_variants=1) == tmp_path / "empty"


def test_all_or_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_samples(tmp_path / "out", n_variants=1, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_and_options(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_samples(tmp_path / "out", n_variants=1, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (24, 24)
    with pytest.raises(ParameterError, match="n_variants=0"):
        write_samples(tmp_path / "none", n_variants=0)
