"""The memory for images is bounded: one that would take more is refused by its header, and threads share it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope import ImageError, load_images
from convscope.errors import ParameterError
from convscope.images import ImageSource, memory_limit, one_image, open_image
from convscope.models.inputs import opened

MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(memory_limit.VARIABLE, "10")


def reserving(n_bytes: int) -> None:
    with one_image():
        memory_limit.reserve(n_bytes, "x")


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "gif", "jp2", "jpg", "bmp"])
def test_a_file_that_would_take_more_is_refused_by_its_header(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.new(mode if suffix not in ("jpg", "gif") else "L", (2000, 1000)).save(path)
    with pytest.raises(ImageError, match=r"x\.\w+: 2000 x 1000: takes about .* set CONVSCOPE_IMAGE_MEMORY"):
        load_images(path)[0]
    Image.new("RGB", (600, 600)).save(path)
    assert load_images(path)[0].shape == (600, 600, 3)
    assert memory_limit._shared.taken == 0


@pytest.mark.parametrize("value", ["x", "0", "-1", "1.5"])
def test_a_bound_that_is_no_number_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(memory_limit.VARIABLE, value)
    with pytest.raises(ParameterError, match="CONVSCOPE_IMAGE_MEMORY"):
        open_image(ImageSource("x", Image.new("L", (2, 2))))


def test_threads_share_the_bound_and_none_waits_forever() -> None:
    most, lock = 0, threading.Lock()

    def one(i: int) -> int:
        nonlocal most
        memory_limit.reserve((1 + i % 5) * 2 * MEGABYTE, "x")
        memory_limit.reserve((1 + i % 3) * 3 * MEGABYTE, "x")  # a second image in one turn
        with lock:
            most = max(most, memory_limit._shared.taken)
        return i

    assert [i for i, _ in opened(one, 200, 8, in_turns=True)] == list(range(200))
    assert 0 < most <= 10 * MEGABYTE
    assert memory_limit._shared.taken == 0


def test_who_came_first_is_served_first() -> None:
    """A large image waits behind the one that is open, and no small one overtakes it."""
    order: list[str] = []
    is_open, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with one_image():
            memory_limit.reserve(5 * MEGABYTE, "x")
            is_open.set()
            may_end.wait()

    def take(name: str, n_megabytes: int) -> None:
        with one_image():
            memory_limit.reserve(n_megabytes * MEGABYTE, "x")
            order.append(name)

    with ThreadPoolExecutor(3) as pool:
        try:
            pool.submit(hold)
            assert is_open.wait(60)
            large = pool.submit(take, "large", 10)
            for _ in range(6000):  # until it stands in the queue
                if memory_limit._shared.queue.locked() or large.done():
                    break
                time.sleep(0.01)
            small = pool.submit(take, "small", 1)
            assert not wait([small], timeout=0.2).done
        finally:
            may_end.set()
        large.result(60)
        small.result(60)
    assert order == ["large", "small"]


def test_what_goes_wrong_gives_its_memory_back(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    for source in (tmp_path / "x.png", Image.new("RGB", (3000, 3000))):
        with pytest.raises(ImageError):
            load_images(source)[0]
    assert memory_limit._shared.taken == 0
    reserving(10 * MEGABYTE)


def test_pillows_own_limit_counts_as_it_is_set_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (300, 300)).save(tmp_path / "x.png")
    Image.new("L", (256, 256)).save(tmp_path / "x.ico", sizes=[(256, 256)])
    for limit in (50_000, 10_000):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        for name in ("x.png", "x.ico"):
            with pytest.raises(ImageError, match=rf"{name}.* more than {limit:,} pixels.*MAX_IMAGE_PIXELS"):
                load_images(tmp_path / name)[0]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert load_images(tmp_path / "x.png")[0].shape == (300, 300, 3)


def test_strips_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    from convscope.images import converting

    random = np.random.default_rng(0).integers(0, 256, (37, 23, 4), np.uint8)
    rgba = Image.fromarray(random)
    keyed = rgba.convert("RGB").quantize(16)
    keyed.info["transparency"] = 3
    images = [rgba, keyed, *(rgba.convert(mode) for mode in ("L", "LA", "1", "P", "RGB", "CMYK", "HSV", "I", "F"))]
    images += [Image.fromarray(random[:, :, 0].astype(np.uint16) * 256)]
    images[-2] = Image.fromarray(random[:, :, 0] / np.float32(255))
    for orientation in range(1, 9):
        for image in images:
            image.getexif()[0x0112] = orientation
        whole = [open_image(ImageSource("x", image, None), background=(9, 8, 7)) for image in images]
        with monkeypatch.context() as patch:
            patch.setattr(converting, "_STRIP", 50)
            for image, expected in zip(images, whole, strict=True):
                np.testing.assert_array_equal(open_image(ImageSource("x", image), background=(9, 8, 7)), expected)


MEASURE = """
import resource, sys
import numpy, torch, torchvision
from PIL import Image
from convscope import load_images
from convscope.models.inputs import opened
Image.init()
images = load_images(sys.argv[1])
list(opened(lambda i: images[i].shape, len(images), 8, in_turns=True))  # one that is small, to load all there is
images = load_images(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _, shape in opened(lambda i: images[i].shape, len(images), 8, in_turns=True):
    assert shape == (4000, 4000, 3), shape
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count otherwise")
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
def test_files_of_huge_images_take_what_is_allowed(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("small", 8), ("huge", 4000)):
        (tmp_path / name).mkdir()
        image = Image.new("RGB", (size, size), "red")
        for i in range(4):
            image.save(tmp_path / name / f"{i}.{suffix}")
    monkeypatch.setenv(memory_limit.VARIABLE, "300")
    places = [str(tmp_path / name) for name in ("small", "huge")]
    done = subprocess.run([sys.executable, "-c", MEASURE, *places], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1.2 * 300 * MEGABYTE
