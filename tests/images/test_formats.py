"""What Pillow opens, opens; what others would run does not; what is out of reach is told from what is damaged."""

from __future__ import annotations

import errno
import io
import logging
import os
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from convscope import ImageError, load_images
from convscope.errors import UnavailableError
from convscope.images import formats, opening, upright_size

COLORS = Image.linear_gradient("L").resize((64, 64)).convert("RGB")


@pytest.mark.parametrize("suffix", ["pcx", "sgi", "dds", "tga", "ppm", "qoi", "icns", "ico", "bmp", "apng"])
def test_lossless_files_of_every_kind_open_as_pillow_opens_them(tmp_path: Path, suffix: str) -> None:
    image = COLORS.resize((1024, 1024)) if suffix == "icns" else COLORS
    image.save(tmp_path / f"x.{suffix}")
    np.testing.assert_array_equal(load_images(tmp_path)[0], np.array(image))


@pytest.mark.parametrize("suffix", ["xbm", "msp"])
def test_files_of_one_bit_open(tmp_path: Path, suffix: str) -> None:
    COLORS.convert("1").save(tmp_path / f"x.{suffix}")
    np.testing.assert_array_equal(load_images(tmp_path)[0], np.array(COLORS.convert("1").convert("RGB")))


def test_all_formats_of_pillow_open_but_those_that_others_run() -> None:
    opened = formats.opened_formats()
    assert set(Image.OPEN) - set(opened) == {"EPS", "WMF", "IPTC"}
    assert [name for name in Image.ID if name in opened] == list(opened), "Pillow's order"


def test_a_plugin_of_the_user_opens_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gray(ImageFile.ImageFile):
        format = "GRAY"

        def _open(self) -> None:
            self._size, self._mode = (2, 1), "L"
            self.tile = [ImageFile._Tile("raw", (0, 0, 2, 1), 4, ("L", 0, 1))]

    (tmp_path / "x.gray").write_bytes(b"GRAY\x05\x06")
    with pytest.raises(ImageError, match="not an image"):
        load_images(tmp_path)[0]
    monkeypatch.setitem(Image.OPEN, "GRAY", (Gray, lambda prefix: prefix[:4] == b"GRAY"))
    monkeypatch.setattr(Image, "ID", [*Image.ID, "GRAY"])
    np.testing.assert_array_equal(load_images(tmp_path)[0], [[[5] * 3, [6] * 3]])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "PostScript.*convert it to PNG"),
        (b"\xd7\xcd\xc6\x9a\0\0" + bytes(60), "Windows metafile.*convert it to PNG"),
        (b"\x1c\x03\x0a" + bytes(60), "IPTC envelope"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "cannot find loader for this HDF5|no pixels|cannot be read"),
        (b"GRIB" + bytes(3) + b"\x01" + bytes(60), "no pixels|cannot be read"),
        (b"BUFR" + bytes(60), "no pixels|cannot be read"),
        (b"\x00\x00\x01\xb3" + bytes(60), "cannot be read|no pixels"),
    ],
)
def test_what_is_run_by_others_or_only_known_by_name_says_so(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "x.jpg").write_bytes(data)
    with pytest.raises(ImageError, match=rf"x\.jpg: .*({says})"):
        load_images(tmp_path / "x.jpg")[0]


def test_an_envelope_with_postscript_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args: pytest.fail("it was run"))
    ten, program = struct.pack(">H", 10), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    size = [((3, 60), b"\1\0"), ((3, 65), b"\1"), ((3, 20), ten), ((3, 30), ten)]
    fields = [*size, ((3, 120), b"\x05"), ((8, 10), program)]
    data = b"".join(b"\x1c" + bytes(tag) + struct.pack(">H", len(value)) + value for tag, value in fields)
    (tmp_path / "x.jpg").write_bytes(data)
    with pytest.raises(ImageError):
        load_images(tmp_path / "x.jpg")[0]


@pytest.mark.parametrize("name", ["x.heic", "x.svg"])
def test_kinds_that_need_something_say_what(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(30))
    with pytest.raises(ImageError, match="pillow-heif" if name == "x.heic" else "convert it to PNG"):
        load_images(tmp_path / name)[0]


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "jpg"])
def test_the_size_of_a_file_is_that_of_its_image(tmp_path: Path, suffix: str, orientation: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(tmp_path / f"x.{suffix}", exif=tags)
    assert upright_size(tmp_path / f"x.{suffix}") == load_images(tmp_path)[0].shape[:2]


# --- another try may succeed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        *(OSError(code, os.strerror(code)) for code in (errno.EIO, errno.EMFILE, errno.ESTALE, errno.ETIMEDOUT)),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        MemoryError(),
    ],
    ids=lambda e: f"{type(e).__name__}-{e.args[:1]}",
)
@pytest.mark.parametrize("place", ["stat", "open", "load"])
def test_what_could_not_be_reached_may_be_another_time(
    tmp_path: Path, place: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.png"
    COLORS.save(path)
    images = load_images(path)

    def fail(*args: Any, **options: Any) -> None:
        raise error

    if place == "stat":
        monkeypatch.setattr(opening.Path, "stat", fail)
    else:
        monkeypatch.setattr(*((opening.Image, "open") if place == "open" else (ImageFile.ImageFile, "load")), fail)
    with pytest.raises(UnavailableError, match=r"x\.png: (cannot be reached \(\w+|not enough memory)"):
        images[0]
    monkeypatch.undo()
    assert images[0].shape == (64, 64, 3)


def test_a_missing_file_may_come_back_and_a_damaged_one_stays_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    COLORS.save(path)
    images, data = load_images(path), path.read_bytes()
    path.unlink()
    with pytest.raises(UnavailableError, match="No such file"):
        images[0]
    for damaged in (data[:-60], b"", data[:40] + b"damage" + data[46:]):
        path.write_bytes(damaged)
        with pytest.raises(ImageError) as raised:
            images[0]
        assert not isinstance(raised.value, UnavailableError)


def test_a_place_in_a_file_that_there_is_not_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    COLORS.save(tmp_path / "x.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(ImageError) as raised:
        load_images(tmp_path)[0]
    assert not isinstance(raised.value, UnavailableError)


# --- what Pillow remarks -----------------------------------------------------------------------------------------


def test_warnings_of_pillow_are_neither_shown_nor_raised_nor_lost_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = io.BytesIO()
    COLORS.save(file, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    (tmp_path / "x.jpg").write_bytes(file.getvalue())
    palette = Image.new("P", (4, 4))
    palette.save(tmp_path / "y.png", transparency=bytes([1, 2, 3]))
    for action in ("error", "always"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(action)
            assert [p.ndim for p in load_images(tmp_path)] == [3, 3]
        assert not caught
    with pytest.warns(UserWarning, match="EXIF"):
        Image.open(file).getexif()
    logger = logging.getLogger("PIL.TiffImagePlugin")
    with caplog.at_level(logging.DEBUG):
        logger.error("of somebody else")
        with opening.quiet():
            logger.error("without a name")
    assert [record.message for record in caplog.records] == ["of somebody else"]
