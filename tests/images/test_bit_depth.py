"""Images of more than 8 bits a sample: white is what the file says, or what the samples look like, and is told."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from convscope import load_images

RAMP = np.arange(0, 256, dtype=np.uint16)[None, :]


def opened(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    images = load_images(path)
    return images[0][0, :, 0], images.remarks


def png(path: Path, samples: np.ndarray, color: int = 0, chunks: tuple[tuple[bytes, bytes], ...] = ()) -> Path:
    """A PNG file of 16 bits, with chunks before its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)), *chunks]
    data = b"".join(chunk(*part) for part in [*parts, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (10, 1023), (12, 4095), (14, 16383)])
@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_samples_that_use_fewer_bits_are_scaled_by_them_and_it_is_told(
    tmp_path: Path, bits: int, white: int, kind: type
) -> None:
    Image.fromarray((RAMP * (white / 255)).astype(kind)).save(tmp_path / "x.tif")
    found, remarks = opened(tmp_path / "x.tif")
    np.testing.assert_allclose(found, RAMP[0], atol=1)
    assert len(remarks) == 1
    assert f"use only {bits} bits, so {white:,} counts as white" in remarks[0]
    assert remarks[0].startswith(str(tmp_path / "x.tif"))


def test_an_image_that_reaches_half_of_16_bits_stays_as_it_is(tmp_path: Path) -> None:
    Image.fromarray(RAMP * 100).save(tmp_path / "x.tif")
    found, remarks = opened(tmp_path / "x.tif")
    np.testing.assert_array_equal(found, np.rint(RAMP[0] * (100 / 257)))
    assert remarks == ()


def test_black_stays_black_without_a_remark(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "x.tif")
    found, remarks = opened(tmp_path / "x.tif")
    assert not found.any()
    assert remarks == ()


@pytest.mark.parametrize("most", [4095, 3000])
def test_a_tiff_that_says_its_largest_value_is_believed(tmp_path: Path, most: int) -> None:
    tags = ImageFileDirectory_v2()
    tags[281] = most
    Image.fromarray(RAMP).save(tmp_path / "x.tif", tiffinfo=tags)
    found, remarks = opened(tmp_path / "x.tif")
    np.testing.assert_array_equal(found, np.rint(RAMP[0] * 255 / most))
    assert remarks == ()


def test_a_tiff_of_12_bits_is_of_12_bits(tmp_path: Path) -> None:
    samples = [0x000, 0x100, 0x07F, 0x200]  # so dark that they would be taken for 10 bits
    packed = bytes.fromhex("".join(f"{sample:03x}" for sample in samples))
    tags = [
        (256, 4, 4),
        (257, 4, 1),
        (258, 3, 12),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 122),
        (278, 4, 1),
        (279, 4, 6),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    (tmp_path / "x.tif").write_bytes(head.ljust(122, b"\0") + packed)
    found, remarks = opened(tmp_path / "x.tif")
    np.testing.assert_array_equal(found, np.rint(np.array(samples) * (255 / 4095)))
    assert remarks == ()


def test_a_png_that_says_its_bits_is_believed(tmp_path: Path) -> None:
    said = opened(png(tmp_path / "x.png", RAMP, chunks=((b"gAMA", bytes(4)), (b"sBIT", b"\x0c"))))
    np.testing.assert_array_equal(said[0], np.rint(RAMP[0] * (255 / 4095)))
    assert said[1] == ()
    found, remarks = opened(png(tmp_path / "y.png", RAMP))
    np.testing.assert_array_equal(found, RAMP[0])
    assert "use only 8" in remarks[0]


def test_a_pgm_has_a_largest_value_that_pillow_applies(tmp_path: Path) -> None:
    for most, scale in ((65535, 1), (4095, 16)):
        (tmp_path / "x.pgm").write_bytes(b"P5 256 1 %d\n" % most + RAMP.astype(">u2").tobytes())
        found, remarks = opened(tmp_path / "x.pgm")
        np.testing.assert_allclose(found, RAMP[0] * scale / 257, atol=0.51)
        assert remarks == ()


def test_dark_colors_of_16_bits_are_remarked(tmp_path: Path) -> None:
    path = tmp_path / "dark.png"
    rows = np.repeat(RAMP[:, :, None] * 16, 3, axis=2)
    png(path, rows, 2)
    found, remarks = opened(path)
    assert found.max() == 15
    assert "16-bit colors use only 12 bits" in remarks[0]
    png(path, rows * 16, 2)
    assert opened(path)[1] == ()


def test_remarks_reach_the_result_in_one_line_that_counts(tmp_path: Path, tiny: object) -> None:
    for name in ("a", "b"):
        Image.fromarray(RAMP.repeat(8, axis=0) * 16).save(tmp_path / f"{name}.tif")
    (tmp_path / "c.txt").write_text("no image")
    images = load_images(tmp_path)
    for _ in range(2):
        notes = tiny.predict(images).provenance.notes
    assert sum("use only 12" in note for note in notes) == 1
    assert any(note.startswith(f"2 images, such as {tmp_path / 'a.tif'}: 16-bit samples") for note in notes)
    assert images.notes[0] in notes
