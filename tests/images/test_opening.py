"""Opening images: every kind of file looks as its viewer shows it, and a bad one is an `ImageError` naming it."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope import ImageError, ImageSet, load_images
from convscope.images import ImageSource, open_image, upright_size


def quadrants() -> np.ndarray:
    """A picture that no rotation or flip maps to itself: four colors, and not square."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24] = (200, 30, 30)
    pixels[:16, 24:] = (30, 200, 30)
    pixels[16:, :24] = (30, 30, 200)
    pixels[16:, 24:] = (220, 220, 220)
    return pixels


def written(path: Path, image: Image.Image | np.ndarray, **options: object) -> Path:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def opened(path: object) -> np.ndarray:
    pixels = load_images(path)[0]
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    return pixels


def assert_refused(path: Path, match: str | None = None) -> None:
    with pytest.raises(ImageError, match=match) as raised:
        load_images(path)[0]
    assert path.name in str(raised.value)


# --- orientation -------------------------------------------------------------------------------------------

# What has to be done to the stored pixels, by EXIF orientation (CIPA DC-008, table of tag 274).
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p),
}


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[274] = orientation
    return tags.tobytes()


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
def test_exif_orientation_is_applied_to_lossless_files(tmp_path: Path, suffix: str, orientation: int) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    path = written(tmp_path / f"x{suffix}", quadrants(), exif=exif(orientation), **options)
    np.testing.assert_array_equal(opened(path), UPRIGHT[orientation](quadrants()))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_exif_orientation_is_applied_to_jpegs(tmp_path: Path, mode: str, orientation: int) -> None:
    image = Image.fromarray(quadrants()).convert(mode)
    path = written(tmp_path / "x.jpg", image, exif=exif(orientation), quality=100, subsampling=0)
    with Image.open(path) as stored:
        expected = UPRIGHT[orientation](np.array(stored.convert("RGB")))
    np.testing.assert_array_equal(opened(path), expected)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_of_either_byte_order_is_read_from_jpegs(tmp_path: Path, order: str) -> None:
    mark = b"II" if order == "<" else b"MM"
    ifd = struct.pack(order + "HIHHHIHHI", 42, 8, 1, 274, 3, 1, 6, 0, 0)
    path = written(tmp_path / "x.jpg", quadrants(), exif=b"Exif\0\0" + mark + ifd, quality=100)
    assert opened(path).shape == (48, 32, 3)


def test_an_orientation_written_only_in_xmp_is_applied(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    path = written(tmp_path / "x.jpg", quadrants(), xmp=xmp)
    assert opened(path).shape == (48, 32, 3)


@pytest.mark.filterwarnings("ignore:.*EXIF:UserWarning")  # Pillow's own remark
def test_nonsense_exif_does_no_harm(tmp_path: Path) -> None:
    for i, tags in enumerate([exif(9), exif(0), b"Exif\0\0II*\0\xff\xff\xff\xff"]):
        path = written(tmp_path / f"{i}.jpg", quadrants(), exif=tags)
        assert opened(path).shape == (32, 48, 3)


# --- transparency ------------------------------------------------------------------------------------------


def half_transparent(mode: str) -> Image.Image:
    """Left half opaque black, right half fully transparent black."""
    alpha = np.zeros((8, 8), np.uint8)
    alpha[:, :4] = 255
    image = Image.new("L" if mode == "LA" else "RGB", (8, 8), 0)
    image.putalpha(Image.fromarray(alpha))
    if mode == "P":
        palette = Image.new("P", (8, 8), 1)
        palette.putpalette([0, 0, 0, 9, 9, 9])
        palette.paste(0, (0, 0, 4, 8))
        palette.info["transparency"] = 1
        return palette
    return image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_the_stated_background(tmp_path: Path, mode: str) -> None:
    path = written(tmp_path / "x.png", half_transparent(mode))
    for background in [(255, 255, 255), (10, 20, 30)]:
        pixels = load_images(path, background=background)[0]
        np.testing.assert_array_equal(pixels[:, :4], np.zeros((8, 4, 3)))
        np.testing.assert_array_equal(pixels[:, 4:], np.broadcast_to(background, (8, 4, 3)))


def test_half_alpha_mixes_half_and_half(tmp_path: Path) -> None:
    path = written(tmp_path / "x.png", Image.new("RGBA", (4, 4), (0, 100, 200, 128)))
    np.testing.assert_allclose(opened(path)[0, 0], np.array([127, 177, 227]), atol=1)


def test_palette_with_an_alpha_for_each_entry(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    path = written(tmp_path / "x.png", image, transparency=bytes([255, 0]))
    np.testing.assert_array_equal(opened(path), [[[255, 0, 0], [255, 255, 255]]])


# --- modes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_gray_is_divided_by_257(tmp_path: Path, suffix: str) -> None:
    samples = np.array([[0, 128, 257, 32896, 65278, 65535]], np.uint16)
    path = written(tmp_path / f"x{suffix}", samples)
    np.testing.assert_array_equal(opened(path)[0, :, 0], [0, 0, 1, 128, 254, 255])


def test_big_endian_16_bit_tiff(tmp_path: Path) -> None:
    image = Image.frombytes("I;16B", (2, 1), bytes([255, 255, 1, 1]))
    np.testing.assert_array_equal(opened(written(tmp_path / "x.tiff", image))[0, :, 0], [255, 1])


def test_32_bit_integers_are_taken_as_16_bit(tmp_path: Path) -> None:
    path = written(tmp_path / "x.tiff", np.array([[0, 257, 65535]], np.int32))
    np.testing.assert_array_equal(opened(path)[0, :, 0], [0, 1, 255])


@pytest.mark.parametrize("bad", [-1, 65536])
def test_32_bit_integers_out_of_range_are_refused(tmp_path: Path, bad: int) -> None:
    assert_refused(written(tmp_path / "x.tiff", np.array([[0, bad]], np.int32)), "expected 0 to 65535")


def test_float_samples_are_in_0_to_1(tmp_path: Path) -> None:
    path = written(tmp_path / "x.tiff", np.array([[0, 0.5, 1]], np.float32))
    np.testing.assert_array_equal(opened(path)[0, :, 0], [0, 128, 255])


@pytest.mark.parametrize("bad", [-0.1, 1.5, np.nan, np.inf])
def test_float_samples_out_of_range_are_refused(tmp_path: Path, bad: float) -> None:
    assert_refused(written(tmp_path / "x.tiff", np.array([[0, bad]], np.float32)), "expected 0 to 1")


def test_one_bit(tmp_path: Path) -> None:
    image = Image.fromarray(np.eye(8, dtype=bool))
    np.testing.assert_array_equal(opened(written(tmp_path / "x.png", image))[:, :, 0], np.eye(8) * 255)


def test_palette(tmp_path: Path) -> None:
    image = Image.fromarray(quadrants()).convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_allclose(opened(written(tmp_path / "x.png", image)), quadrants(), atol=8)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp"])
def test_lossless_files_open_bit_for_bit(tmp_path: Path, suffix: str, mode: str) -> None:
    image = Image.fromarray(quadrants()).convert(mode)
    expected = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(opened(written(tmp_path / f"x{suffix}", image)), expected)


@pytest.mark.parametrize("suffix", [".webp", ".avif"])
def test_lossy_files_open(tmp_path: Path, cat: np.ndarray, suffix: str) -> None:
    difference = opened(written(tmp_path / f"x{suffix}", cat, quality=95)).astype(int) - cat
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_opens_at_its_first_frame(tmp_path: Path, suffix: str) -> None:
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    path = written(tmp_path / f"x{suffix}", first, save_all=True, append_images=[second], lossless=True)
    np.testing.assert_array_equal(opened(path), np.full((8, 8, 3), (255, 0, 0)))


def test_a_multi_picture_jpeg_opens_at_its_first_picture(tmp_path: Path) -> None:
    first = Image.fromarray(quadrants())
    path = written(tmp_path / "x.mpo", first, save_all=True, append_images=[Image.new("RGB", (48, 32))])
    with Image.open(path) as image:
        assert image.format == "MPO"
    np.testing.assert_allclose(opened(path)[4, 4], [200, 30, 30], atol=8)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpegs_of_every_coding_open(
    tmp_path: Path, cat: np.ndarray, mode: str, options: dict[str, object]
) -> None:
    if mode == "L" and "keep_rgb" in options:
        pytest.skip("gray files have no RGB to keep")
    path = written(tmp_path / "x.jpg", Image.fromarray(cat).convert(mode), quality=90, **options)
    with Image.open(path) as image:
        np.testing.assert_array_equal(opened(path), np.array(image.convert("RGB")))


def test_cmyk_jpeg(tmp_path: Path) -> None:
    path = written(tmp_path / "x.jpg", Image.fromarray(quadrants()).convert("CMYK"), quality=100)
    np.testing.assert_allclose(opened(path)[4, 4], [200, 30, 30], atol=8)


def test_a_pil_image_opens_like_its_file(tmp_path: Path) -> None:
    path = written(tmp_path / "x.png", half_transparent("RGBA"), exif=exif(6))
    with Image.open(path) as image:
        np.testing.assert_array_equal(opened(image), opened(path))
        assert image.mode == "RGBA", "the caller's image is left as it was"


# --- broken files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95, 0.999])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_refused(tmp_path: Path, cat: np.ndarray, progressive: bool, share: float) -> None:
    path = written(tmp_path / "cut.jpg", cat, progressive=progressive)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert_refused(path)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff", ".gif", ".bmp", ".avif"])
def test_other_truncated_files_are_refused(tmp_path: Path, cat: np.ndarray, suffix: str) -> None:
    path = written(tmp_path / f"cut{suffix}", cat)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert_refused(path)


def test_a_truncated_pil_image_is_refused(tmp_path: Path, cat: np.ndarray) -> None:
    path = written(tmp_path / "cut.png", cat)
    path.write_bytes(path.read_bytes()[:5000])
    with Image.open(path) as image, pytest.raises(ImageError, match=r"cut\.png"):
        load_images(image)[0]


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.jpg"
    path.touch()
    assert_refused(path, "empty")


def test_a_text_file_is_refused_whatever_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("not a picture")
    assert_refused(path, "not an image")


@pytest.mark.parametrize(("width", "height"), [(40_000, 40_000), (10_000, 9_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_without_being_unpacked(tmp_path: Path, width: int, height: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    assert width * height > (Image.MAX_IMAGE_PIXELS or 0)
    path = tmp_path / "bomb.png"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow's own remark
        assert_refused(path, "scale it down")
    assert_refused(path, "scale it down")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "no.jpg", "no such file")


@pytest.mark.parametrize(
    ("name", "says"), [("x" * 5000, "cannot be reached"), ("a\0b", "no such"), ("", "empty path")]
)
def test_an_impossible_path_is_refused(name: str, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        load_images(name)[0]


def test_a_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert_refused(tmp_path / "pipe.jpg", "not a file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "locked.png", quadrants())
    path.chmod(0)
    assert_refused(path)


# --- folders -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """cat/1.png, cat/deep/2.png, dog/3.png, top.png, and what a folder of pictures collects besides."""
    root = tmp_path / "photos"
    for name in ["top.png", "dog/3.png", "cat/deep/2.png", "cat/1.png", ".hidden/4.png", "cat/.5.png"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        written(root / name, quadrants())
    return root


def test_a_folder_is_searched_in_sorted_order_without_hidden_files(folder: Path) -> None:
    found = load_images(folder)
    assert found.names == tuple(str(folder / n) for n in ["cat/1.png", "cat/deep/2.png", "dog/3.png", "top.png"])
    assert found.labels == ("cat", "cat", "dog", None)
    assert repr(found) == "ImageSet(4 images, 2 labels)"


def test_a_hidden_folder_is_searched_when_it_is_named(folder: Path) -> None:
    assert len(load_images(folder / ".hidden")) == 1


def test_bad_files_of_a_folder_are_skipped_and_listed(folder: Path, tiny: object) -> None:
    (folder / "notes.txt").write_text("hello")
    (folder / "dog" / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "dog.jpg").mkdir()
    os.mkfifo(folder / "pipe.png")
    prediction = tiny.predict(folder)
    assert [Path(n).name for n in prediction.names] == ["1.png", "2.png", "3.png", "top.png"]
    assert len(prediction.scores) == 4
    skipped = prediction.provenance.skipped
    assert len(skipped) == 1
    assert "gone.png" in skipped[0]
    assert (
        "left out 2 files that are not images, judging by name or kind: 1 .txt, 1 pipe"
        in prediction.provenance.notes
    )


def test_bad_files_can_be_errors_and_bad_items_of_a_list_are(folder: Path, tiny: object) -> None:
    (folder / "a.txt").write_text("hello")
    (folder / "a.jpg").write_text("hello")
    with pytest.raises(ImageError, match=r"a\.jpg"):
        tiny.predict(load_images(folder, on_error="raise"))
    with pytest.raises(ImageError, match=r"a\.txt"):
        tiny.predict([folder / "top.png", folder / "a.txt"])
    prediction = tiny.predict(load_images([folder / "top.png", folder / "a.txt"], on_error="skip"))
    assert len(prediction.names) == len(prediction.provenance.skipped) == 1


def test_a_folder_with_nothing_to_read_is_an_error(tmp_path: Path, tiny: object) -> None:
    with pytest.raises(ImageError, match=r"holds no images$"):
        load_images(tmp_path)
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(ImageError, match=r"holds no images; left out 1 file .*: 1 \.txt$"):
        load_images(tmp_path)
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(ImageError, match=r"none of the 1 images could be read.*a\.jpg"):
        tiny.predict(tmp_path)


def test_a_folder_that_is_a_loop_of_links_ends(folder: Path) -> None:
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "self.png").symlink_to(folder / "self.png")
    assert len(load_images(folder)) == 5, "the link to itself is one more, to be listed as unreadable"


def test_a_slice_is_a_set_and_keeps_its_options(folder: Path) -> None:
    part = load_images(folder, background=(1, 2, 3))[1:3]
    assert isinstance(part, ImageSet)
    assert part.labels == ("cat", "dog")
    assert part.background == (1, 2, 3)
    assert part.skip_errors
    assert [p.shape for p in part] == [(32, 48, 3)] * 2


# --- arrays and sequences ----------------------------------------------------------------------------------


def test_uint8_arrays_pass_as_they_are() -> None:
    array = quadrants()
    assert load_images(array)[0] is array


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_arrays_become_float32(dtype: type) -> None:
    pixels = load_images(np.linspace(0, 1, 12, dtype=dtype).reshape(2, 2, 3))[0]
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels.ravel(), np.linspace(0, 1, 12), atol=1e-3)


def test_a_plane_gets_a_channel_axis_and_a_stack_is_several_images() -> None:
    assert load_images(np.zeros((5, 7), np.uint8))[0].shape == (5, 7, 1)
    stack = load_images(np.zeros((2, 5, 7, 12), np.float32))
    assert stack.names == ("image 0", "image 1")
    assert stack[1].shape == (5, 7, 12)


@pytest.mark.parametrize(
    "array",
    [
        np.full((4, 4, 3), 1.01),
        np.full((4, 4, 3), -0.01),
        np.full((4, 4, 3), np.nan),
        np.full((4, 4, 3), np.inf),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4, 3), complex),
        np.zeros((4, 4, 3), object),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 0), np.uint8),
        np.zeros((0, 4, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((), np.uint8),
        np.zeros((1, 1, 4, 4, 3), np.uint8),
        np.float64(0.5),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}" + (f"={a.flat[0]}" if np.size(a) else ""),
)
def test_arrays_that_are_no_images_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ImageError):
        load_images(array)[0]


def test_an_array_in_0_to_255_floats_is_told_to_divide() -> None:
    with pytest.raises(ImageError, match="divide by 255"):
        load_images(np.full((4, 4, 3), 200.0))[0]


@pytest.mark.parametrize("odd", [None, 3, b"abc", object(), {"a": 1}, {1, 2}, [None], [b"x"], [[3]], [], (), [[]]])
def test_what_is_no_image_is_refused(odd: object) -> None:
    with pytest.raises(ImageError):
        load_images(odd)[0]


def test_paths_may_be_given_in_many_ways(folder: Path) -> None:
    path = folder / "top.png"
    for way in [path, str(path), np.str_(path), os.scandir(folder), folder.glob("top.png"), [str(path)], (path,),
                np.array([str(path)]), np.array([str(path)], object), ImageSource("top", path)]:  # fmt: skip
        wanted = [e for e in way if e.name == "top.png"] if type(way).__name__ == "ScandirIterator" else way
        np.testing.assert_array_equal(load_images(wanted)[0], quadrants())


def test_a_list_may_mix_kinds_and_numbers_what_has_no_name(folder: Path) -> None:
    mixed = load_images([folder / "top.png", quadrants(), Image.fromarray(quadrants()), folder / "dog"])
    assert mixed.names == (str(folder / "top.png"), "image 1", "image 2", str(folder / "dog" / "3.png"))
    for pixels in mixed:
        np.testing.assert_array_equal(pixels, quadrants())


def test_an_image_set_passes_through() -> None:
    images = load_images(quadrants())
    assert load_images(images) is images


def test_opening_leaves_the_array_alone() -> None:
    array = np.linspace(0, 1, 48).reshape(4, 4, 3)
    before = array.copy()
    open_image(ImageSource("x", array))
    np.testing.assert_array_equal(array, before)


def test_postscript_under_an_image_name_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    with pytest.raises(ImageError, match=r"holiday\.jpg: not opened because it is a PostScript file"):
        load_images(path)[0]


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("at_least", "size"), [(None, (600, 400)), (100, (150, 100)), (201, (600, 400))])
def test_large_jpegs_open_at_a_part_of_their_size(
    tmp_path: Path, cat: np.ndarray, orientation: int, at_least: int | None, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    whole = Image.fromarray(cat).resize((600, 400))
    whole.save(tmp_path / "large.jpg", quality=95, exif=exif)
    found = load_images(tmp_path / "large.jpg", at_least=at_least)[0]
    expected = np.asarray(whole.resize(size, Image.Resampling.BOX))
    if orientation == 6:
        expected = np.rot90(expected, -1)
    assert found.shape == expected.shape
    assert np.abs(found.astype(float) - expected).mean() < 4
    assert upright_size(tmp_path / "large.jpg") == ((400, 600) if orientation == 1 else (600, 400))


def test_only_jpegs_open_at_a_part_of_their_size(tmp_path: Path, cat: np.ndarray) -> None:
    Image.fromarray(cat).save(tmp_path / "cat.png")
    np.testing.assert_array_equal(load_images(tmp_path, at_least=1)[:1][0], cat)


def test_in_a_list_each_folder_is_the_label_of_what_it_holds(tmp_path: Path) -> None:
    for name in ("cat/0.png", "cat/deep/1.png", "dog/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    assert load_images([tmp_path / "cat", tmp_path / "dog"]).labels == ("cat", "cat", "dog")
    assert load_images(tmp_path).labels == ("cat", "cat", "dog")
    assert load_images(tmp_path / "cat").labels == (None, "deep")
