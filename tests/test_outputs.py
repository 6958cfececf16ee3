"""What is written: whole or not at all, nowhere but in a free place or over a file of convscope's own."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from convscope.errors import OutputError
from convscope.outputs import GENERATOR, check_directory, check_output, new_directory, replace_file
from convscope.partial_files import _HOST
from convscope.texts import printable

HEAD = '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
MARK = f'<meta name="generator" content="{GENERATOR}">'
OURS = HEAD + MARK
SIGNATURE, CHUNK = b"\x89PNG\r\n\x1a\n", b"tEXtSoftware\0" + GENERATOR.encode()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def page(path: Path, text: str = "old") -> Path:
    path.write_text(OURS + text)
    return path


def test_a_new_file_and_one_of_our_own_are_written(tmp_path: Path) -> None:
    output = tmp_path / "new" / "deep" / "page.html"
    replace_file(output, [OURS, "one"])
    replace_file(output, [OURS, "two ", b"\xc3\xbc \xff", "\udcff"])
    assert output.read_bytes() == OURS.encode() + b"two \xc3\xbc \xff\\udcff"
    assert names(output.parent) == ["page.html"]


def test_what_convscope_did_not_write_is_kept_unless_told(tmp_path: Path) -> None:
    output = tmp_path / "photo.jpg"
    output.write_text("mine" + " " * 2000 + OURS)  # which stands too late to be a head
    for check in (check_output, lambda path: replace_file(path, ["new"])):
        with pytest.raises(OutputError, match=r"photo.jpg: exists, and convscope did not write it"):
            check(output)
    assert output.read_text().startswith("mine")
    replace_file(output, ["new"], overwrite=True)
    assert output.read_text() == "new"


def test_a_png_of_ours_is_known_as_well(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(SIGNATURE + b"\0\0\0\x0dIHDR" + bytes(21) + CHUNK)
    replace_file(tmp_path / "a.png", [b"new"])
    assert (tmp_path / "a.png").read_bytes() == b"new"


@pytest.mark.parametrize(
    "content",
    [
        f"The mark is\n\n    {OURS}\n".encode(),
        MARK.encode(),
        f"<!doctype html>\n<html lang='en'>\n<head>\n</head>\n<body><pre>{MARK}</pre>".encode(),
        f"{HEAD}<title>notes</title>\n</head>\n<body>{MARK}".encode(),
        f"{HEAD}<!-- {MARK} -->".encode(),
        b"GIF89a" + CHUNK,
        b"notes\n" + SIGNATURE + CHUNK,
    ],
)
def test_what_only_quotes_our_mark_is_not_ours(tmp_path: Path, content: bytes) -> None:
    output = tmp_path / "notes.md"
    output.write_bytes(content)
    with pytest.raises(OutputError, match="convscope did not write it"):
        replace_file(output, ["new"])
    assert output.read_bytes() == content


@pytest.mark.parametrize("content", [OURS.encode(), SIGNATURE + CHUNK])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_kept_even_if_it_is_ours(tmp_path: Path, content: bytes, overwrite: bool) -> None:
    output = tmp_path / "picture.png"
    output.write_bytes(content)
    with pytest.raises(OutputError, match="is an input of this very call"):
        replace_file(output, ["new"], inputs=[str(output)], overwrite=overwrite)
    assert output.read_bytes() == content


@pytest.mark.parametrize(
    "name", ["images.lance/data/1.lance", "fits.lance/_versions/1.manifest", ".lock", "new.html"]
)
def test_nothing_is_written_into_a_store(tmp_path: Path, name: str) -> None:
    store = tmp_path / "store"
    for table in ("images.lance/_versions", "images.lance/data", "fits.lance/_versions"):
        (store / table).mkdir(parents=True)
    for part in ("images.lance/data/1.lance", "fits.lance/_versions/1.manifest", ".lock"):
        (store / part).write_text("row")
    (tmp_path / "link").symlink_to("store")
    for folder in ("store", "link"):
        with pytest.raises(OutputError, match="lies inside the store"):
            replace_file(tmp_path / folder / name, ["new"], overwrite=True)
        with pytest.raises(OutputError, match="lies inside the store"):
            check_directory(tmp_path / folder / "out" / "result")
    assert (store / "images.lance" / "data" / "1.lance").read_text() == "row"
    assert sorted(names(store)) == [".lock", "fits.lance", "images.lance"]
    replace_file(tmp_path / "beside.html", ["new"])


def test_no_part_of_a_saved_result_is_written_over(tmp_path: Path) -> None:
    for name in ("manifest.json", "arrays.npz"):
        (tmp_path / name).write_text("vectors")
    for name in ("manifest.json", "arrays.npz"):
        with pytest.raises(OutputError, match=f"{name}: is a part of the result saved in"):
            replace_file(tmp_path / name, ["new"], overwrite=True)
        assert (tmp_path / name).read_text() == "vectors"
    replace_file(tmp_path / "map.html", ["new"])
    (tmp_path / "arrays.npz").unlink()
    replace_file(tmp_path / "manifest.json", ["new"], overwrite=True)


def test_no_input_is_written_over_by_any_of_its_names(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_text("photo")
    (tmp_path / "link.jpg").symlink_to(photo)
    os.link(photo, tmp_path / "hard.jpg")
    read = ["image 0", "no\0name", str(photo)]
    for name in ("photo.jpg", "link.jpg", "hard.jpg", "./photo.jpg"):
        with pytest.raises(OutputError, match="is an input of this very call"):
            replace_file(tmp_path / name, ["new"], inputs=read, overwrite=True)
    assert photo.read_text() == "photo"


def test_through_a_link_its_target_is_replaced(tmp_path: Path) -> None:
    target = page(tmp_path / "target.html")
    (tmp_path / "link.html").symlink_to(target.name)
    replace_file(tmp_path / "link.html", ["new"])
    assert (tmp_path / "link.html").is_symlink()
    assert target.read_text() == "new"
    (tmp_path / "dangling.html").symlink_to("later.html")
    replace_file(tmp_path / "dangling.html", ["new"])
    assert (tmp_path / "later.html").read_text() == "new"
    (tmp_path / "folder").symlink_to("real")
    with new_directory(tmp_path / "folder") as partial:
        (partial / "a").touch()
    assert names(tmp_path / "real") == ["a"]
    assert (tmp_path / "folder").is_symlink()


def test_permissions_stay_and_new_ones_follow_the_umask(tmp_path: Path) -> None:
    output = page(tmp_path / "page.html")
    output.chmod(0o640)
    before = os.umask(0o027)
    try:
        for name in ("page.html", "new.html"):
            replace_file(tmp_path / name, ["new"])
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640
        (tmp_path / "empty").mkdir(mode=0o700)
        for name, mode in (("empty", 0o700), ("folder", 0o750)):
            with new_directory(tmp_path / name):
                pass
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    finally:
        os.umask(before)


@pytest.mark.parametrize("overwrite", [False, True])
def test_only_regular_files_that_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    monkeypatch.chdir(tmp_path)  # as the path of a socket has to be short
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    page(tmp_path / "locked.html").chmod(0o444)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name, message in (
            ("pipe", "is no regular file"),
            ("link", "is no regular file"),
            ("socket", "is no regular file"),
            ("loop", "cannot be written"),
            ("folder", "is a folder; give the name of a file"),
            ("locked.html", "is read-only"),
        ):
            with pytest.raises(OutputError, match=f"{name}: {message}"):
                check_output(tmp_path / name, overwrite=overwrite)
            if name != "folder":
                with pytest.raises(OutputError, match=f"{name}: (exists already|cannot be written)"):
                    check_directory(tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize(
    "name",
    ["a\0b", "\ud800", "x" * 256, "n" * 300 + "/page.html", "new/" + "x" * 300, "ü" * 128, "file/page.html"],
)
def test_a_name_that_no_file_can_have_is_an_error_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    for check in (check_output, check_directory):
        with pytest.raises(OutputError, match="cannot be written"):
            check(tmp_path / name)
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "\udcff.html", "-", "a\nb", ".hidden"])
def test_every_name_that_a_file_can_have_will_do(tmp_path: Path, name: str) -> None:
    replace_file(tmp_path / name, ["one"])
    with new_directory(tmp_path / "folder" / name) as partial:
        (partial / "a").touch()
    assert names(tmp_path) == sorted([name, "folder"])
    assert names(tmp_path / "folder" / name) == ["a"]


def test_a_folder_that_takes_no_file_is_known_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("convscope.outputs.tempfile.TemporaryFile", refuse)
    for check in (check_output, check_directory):
        with pytest.raises(OutputError, match=r"place: cannot be written \(Permission denied\)"):
            check(tmp_path / "new" / "place")
    assert names(tmp_path) == []


class Full:
    """Pieces of a file of which the second does not fit, or is never made."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __iter__(self) -> Iterator[str]:
        yield "half"
        raise self.error


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError(), KeyboardInterrupt()]
)
def test_a_failure_keeps_the_old_one_and_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fill(folder: Path) -> None:
        with new_directory(folder) as partial:
            (partial / "half").touch()
            raise error

    expected = OutputError if isinstance(error, OSError) else type(error)
    output = page(tmp_path / "page.html")
    with pytest.raises(expected):
        replace_file(output, Full(error))
    with pytest.raises(expected):
        replace_file(tmp_path / "new" / "deep" / "page.html", Full(error))
    with pytest.raises(expected):
        fill(tmp_path / "new" / "folder")
    assert output.read_text() == OURS + "old"
    assert names(tmp_path) == ["page.html"]


@pytest.mark.parametrize(("limit", "when"), [(9999, "writing"), (99, "checking")])
def test_a_file_that_may_grow_no_further_is_an_error(tmp_path: Path, limit: int, when: str) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from convscope.outputs import check_output, replace_file; from convscope.errors import OutputError\n"
        "limit, place = int(sys.argv[1]), Path(sys.argv[2]) / 'page.html'\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "when = 'checking'\n"
        "try: check_output(place); when = 'writing'; replace_file(place, ['x' * 5000] * 9)\n"
        "except OutputError as error: print(when, error)"
    )
    run = [sys.executable, "-c", code, str(limit), str(tmp_path)]
    said = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert said.startswith(when)
    assert "page.html: cannot be written (File too large)" in said
    assert names(tmp_path) == []


# Writes half of a file or folder, says so, and waits to be killed.
KILLED = """
import sys, time
from pathlib import Path
from convscope.outputs import new_directory, replace_file

def pieces():
    yield "half"
    print("half", flush=True)
    time.sleep(100)

if sys.argv[2] == "file":
    replace_file(Path(sys.argv[1], "page.html"), pieces())
else:
    with new_directory(Path(sys.argv[1], "folder")) as partial:
        (partial / "half").touch()
        print("half", flush=True)
        time.sleep(100)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_run_left_is_removed_by_the_next_and_that_of_a_living_one_is_not(
    tmp_path: Path, kind: str
) -> None:
    run = [sys.executable, "-c", KILLED, str(tmp_path), kind]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "half\n"
            (left,) = names(tmp_path)
            assert left.startswith(".convscope-")
            replace_file(tmp_path / "other.html", ["new"])
            assert names(tmp_path) == [left, "other.html"], "the run is alive"
        finally:
            process.kill()
    assert names(tmp_path) == [left, "other.html"]
    replace_file(tmp_path / "other.html", [OURS], overwrite=True)
    assert names(tmp_path) == ["other.html"]


@pytest.mark.parametrize("moment", ["before it is opened", "before it is locked", "while it is locked"])
def test_a_run_that_another_takes_for_dead_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Between making a file and locking it there is a time in which it looks like what a dead run has left."""
    real_open, real_lock, seen = os.open, fcntl.flock, []

    def opened(path: Any, flags: int, *more: Any) -> int:
        if str(path).endswith(".partial") and not flags & os.O_CREAT and not seen:
            seen.append(path)
            if moment == "before it is opened":
                os.unlink(path)
        return real_open(path, flags, *more)

    def locked(descriptor: int, how: int) -> None:
        if len(seen) == 1:
            if moment == "before it is locked":
                os.unlink(seen[0])
            seen.append("locked")
            if moment == "while it is locked":
                raise BlockingIOError
        real_lock(descriptor, how)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(fcntl, "flock", locked)
    replace_file(tmp_path / "page.html", ["new"])
    assert seen
    assert (tmp_path / "page.html").read_text() == "new"


def test_only_what_is_surely_a_leftover_is_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / f".convscope-{_HOST}-1.partial").symlink_to("precious")
    os.mkfifo(tmp_path / f".convscope-{_HOST}-2.partial")
    (tmp_path / ".page.html.partial").touch()
    (tmp_path / ".convscope-elsewhere-3.partial").touch()
    (tmp_path / ".convscope-elsewhere-4.partial").mkdir()
    two_days_ago = time.time() - 2 * 86_400
    os.utime(tmp_path / ".convscope-elsewhere-4.partial", (two_days_ago, two_days_ago))
    before = names(tmp_path)
    replace_file(tmp_path / "page.html", ["new"])
    before.remove(".convscope-elsewhere-4.partial")  # of a machine that must be done with it
    assert names(tmp_path) == sorted([*before, "page.html"])
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_folder_is_made_only_where_none_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    page(tmp_path / "full" / "page.html")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match="full: exists already; choose another output or remove it"):
        check_directory(tmp_path / "full")
    assert check_directory(tmp_path / "empty") == (tmp_path / "empty").resolve()
    monkeypatch.chdir(tmp_path / "empty")
    for name in (".", tmp_path / "empty"):
        with pytest.raises(OutputError, match="is the current folder"):
            check_directory(name)


def test_nothing_in_a_text_reaches_the_terminal() -> None:
    text = "a\x1b[2J\r\n\t\x7f\x9b31m\u202egpj.exe\u2066\u2028\udcff"
    assert printable(text) == r"a\x1b[2J\r\n\t\x7f\x9b31m\u202egpj.exe\u2066\u2028\udcff"
    assert printable("Größe 猫 ☕ 👩‍💻 [b] 3.00\u202fPM.png") == "Größe 猫 ☕ 👩‍💻 [b] 3.00\u202fPM.png"
