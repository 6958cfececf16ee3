"""Names on a page: seen from the folder that all have in common, without the paths of a machine."""

from __future__ import annotations

import pytest

from convscope.report.short_paths import without_common_folder, without_folders


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("/home/me/photos/cat/1.jpg", "/home/me/photos/2.jpg"), ("cat/1.jpg", "2.jpg")),
        (("/home/me/photos/cat/1.jpg",), ("1.jpg",)),
        (("/data/a/1.jpg", "/home/me/b/2.jpg"), ("a/1.jpg", "b/2.jpg")),
        (("/1.jpg", "/a/2.jpg"), ("1.jpg", "a/2.jpg")),
        (("image 0", "/home/me/1.jpg", "s3://bucket/2.jpg"), ("image 0", "1.jpg", "s3://bucket/2.jpg")),
        (("/home/me/caf\udce9/1.jpg", "/home/me/2.jpg"), ("caf\udce9/1.jpg", "2.jpg")),
        ((), ()),
    ],
)
def test_names_are_seen_from_the_common_folder(names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert without_common_folder(names) == expected


def test_reasons_name_the_file_and_its_folder() -> None:
    reasons = ["/home/me/a/x.txt: not an image", "/home/me/a/y.jpg: cannot be read ('/home/me/a/y.jpg')", "z: odd"]
    assert without_folders(reasons) == ["a/x.txt: not an image", "a/y.jpg: cannot be read ('a/y.jpg')", "z: odd"]
