"""Results on disk: all or nothing, bit for bit, and never over something else."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.render.results import evaluation

import convscope.render
from convscope import (
    Attribution,
    Embeddings,
    Evaluation,
    FeatureMaps,
    Filters,
    OutputError,
    Prediction,
    Provenance,
    Result,
)

PROVENANCE = Provenance(
    method="feature_maps",
    parameters={"layer": ("a", "classifier:input"), "path": Path("x")},
    model={"name": "net", "weights_sha256": "00", "preprocessing": None},
    device="cpu",
    versions={"torch": "2"},
    seconds=0.5,
    notes=("one",),
    skipped=("bad.jpg: not an image",),
)


def maps() -> FeatureMaps:
    rng = np.random.default_rng(0)
    values = {
        "relu:1": rng.normal(size=(2, 3, 4, 5)).astype(np.float32),
        "classifier:input": np.array([[np.nan, np.inf, -0.0, 1e-45], [1, 2, 3, 4]], np.float32),
        "blocks.0/a": np.zeros((2, 1, 1, 2), np.float32),
    }
    images = rng.integers(0, 256, (2, 4, 5, 3), np.uint8)
    return FeatureMaps(values=values, images=images, names=("a.jpg", "ü/b.jpg"), provenance=PROVENANCE)


def attribution() -> Attribution:
    values = np.random.default_rng(0).normal(size=(1, 4, 5)).astype(np.float32)
    images = np.zeros((1, 4, 5, 3), np.uint8)
    return Attribution(
        values=values,
        targets=("cat",),
        scores=np.ones(1, np.float32),
        images=images,
        names=("a",),
        provenance=PROVENANCE,
    )


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn is not what is tested here."""
    monkeypatch.setattr(convscope.render, "save_png", lambda result, path: path.write_bytes(b"png"))


def test_what_is_saved_is_read_back_bit_for_bit(tmp_path: Path, no_picture: None) -> None:
    saved = maps()
    assert saved.save(tmp_path / "new" / "deep") == tmp_path / "new" / "deep"
    found = FeatureMaps.load(tmp_path / "new" / "deep")
    assert found.layers == saved.layers
    for name in saved.layers:
        assert found[name].dtype == saved[name].dtype
        assert found[name].tobytes() == saved[name].tobytes()
    assert found.images.tobytes() == saved.images.tobytes()
    assert found.names == saved.names
    assert found.provenance.notes == ("one",)
    assert found.provenance.skipped == PROVENANCE.skipped
    assert found.provenance.parameters == {"layer": ("a", "classifier:input"), "path": "x"}


def test_a_real_prediction_is_saved_with_its_picture(tmp_path: Path, lite0: object, cat: np.ndarray) -> None:
    saved = lite0.predict(cat)
    found = Prediction.load(saved.save(tmp_path / "out"))
    assert found.scores.tobytes() == saved.scores.tobytes()
    assert found.labels == saved.labels
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["arrays.npz", "manifest.json", "picture.png"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["kind"] == "Prediction"


def test_a_result_can_be_read_without_knowing_its_kind(tmp_path: Path, no_picture: None) -> None:
    attribution().save(tmp_path / "a")
    assert isinstance(Result.load(tmp_path / "a"), Attribution)
    assert isinstance(Attribution.load(str(tmp_path / "a")), Attribution)
    with pytest.raises(OutputError, match="holds an Attribution, not a Filters"):
        Filters.load(tmp_path / "a")


@pytest.mark.slow
def test_a_process_that_has_not_seen_the_kind_reads_it(tmp_path: Path) -> None:
    Embeddings(
        vectors=np.zeros((1, 2), np.float32),
        names=("a",),
        labels=(None,),
        thumbnails=np.zeros((1, 64, 64, 3), np.uint8),
        layer="fc:input",
        provenance=PROVENANCE,
    ).save(tmp_path / "a")
    code = "import sys; from convscope import Result; print(type(Result.load(sys.argv[1])).__name__)"
    run = [sys.executable, "-c", code, str(tmp_path / "a")]
    assert subprocess.run(run, check=True, capture_output=True, text=True).stdout == "Embeddings\n"


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("os", "system"),
        ("convscope.__main__", "main"),
        ("convscope_other", "Attribution"),
        ("convscope.no_such", "Attribution"),
        ("convscope.results", "Provenance"),
        ("convscope.results", "__all__"),
    ],
)
def test_only_results_of_its_own_are_made_from_a_file(
    tmp_path: Path, no_picture: None, module: str, kind: str
) -> None:
    attribution().save(tmp_path / "a")
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    (tmp_path / "a" / "manifest.json").write_text(json.dumps({**manifest, "module": module, "kind": kind}))
    with pytest.raises(OutputError, match=r"a: (holds|not a saved)"):
        Result.load(tmp_path / "a")


def test_a_result_is_found_after_the_file_of_its_class_has_moved(tmp_path: Path, no_picture: None) -> None:
    attribution().save(tmp_path / "a")
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["module"] == "convscope.results"
    manifest["module"] = "convscope.results.a_file_of_once"
    (tmp_path / "a" / "manifest.json").write_text(json.dumps(manifest))
    assert isinstance(Result.load(tmp_path / "a"), Attribution)


def test_an_evaluation_saved_without_units_is_read(tmp_path: Path, no_picture: None) -> None:
    evaluation().save(tmp_path / "a")
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    del manifest["values"]["units"]
    (tmp_path / "a" / "manifest.json").write_text(json.dumps(manifest))
    found = Result.load(tmp_path / "a")
    assert isinstance(found, Evaluation)
    assert (found.units, found.measures) == ((), evaluation().measures)


def test_another_format_is_told(tmp_path: Path, no_picture: None) -> None:
    attribution().save(tmp_path / "a")
    text = (tmp_path / "a" / "manifest.json").read_text()
    (tmp_path / "a" / "manifest.json").write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(OutputError, match="written in format 2, this version reads 1"):
        Attribution.load(tmp_path / "a")


def test_tuples_come_back_as_tuples_and_the_caption_as_it_was(tmp_path: Path, no_picture: None) -> None:
    parameters = {"window": (32, 32), "deep": {"sizes": ((1, 2), (3,))}, "target": None, "seed": 0}
    model = {"name": "net", "preprocessing": {"mean": (0.5, 0.25)}}
    origin = dataclasses.replace(PROVENANCE, parameters=parameters, model=model)
    saved = dataclasses.replace(attribution(), provenance=origin, signed=False, unit="score units")
    found = Attribution.load(saved.save(tmp_path / "a"))
    assert found.provenance == origin
    assert found.provenance.caption == origin.caption
    assert (found.signed, found.unit) == (False, "score units")


def test_it_refuses_to_write_over_anything(tmp_path: Path, no_picture: None) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("mine")
    (tmp_path / "file").write_text("mine")
    attribution().save(tmp_path / "again")
    for taken in ("full", "file", "again"):
        with pytest.raises(OutputError, match=f"{taken}: exists already"):
            attribution().save(tmp_path / taken)
    assert (tmp_path / "full" / "precious").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    attribution().save(tmp_path / "empty")


@pytest.mark.parametrize(
    "error", [RuntimeError("drawing"), KeyboardInterrupt(), OSError(28, "No space left on device")]
)
def test_a_failure_in_the_middle_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(result: object, path: Path) -> None:
        path.write_bytes(b"half a picture")
        raise error

    monkeypatch.setattr(convscope.render, "save_png", fail)
    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        attribution().save(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_was_taken_meanwhile_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_process(result: object, path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").touch()

    monkeypatch.setattr(convscope.render, "save_png", other_process)
    with pytest.raises(OutputError, match="out: cannot be written"):
        attribution().save(tmp_path / "out")
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "theirs"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path, no_picture: None) -> None:
    (tmp_path / "file").touch()
    for impossible in (tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(OutputError):
            attribution().save(impossible)


def test_others_may_read_what_the_umask_allows(tmp_path: Path, no_picture: None) -> None:
    before = os.umask(0o022)
    try:
        attribution().save(tmp_path / "out")
        assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o755
        assert os.umask(0o022) == 0o022, "the umask is as it was"
    finally:
        os.umask(before)


# --- reading what is damaged -------------------------------------------------------------------------------


def damage_manifest(text: str) -> object:
    return lambda path: (path / "manifest.json").write_text(text)


def without(key: str) -> object:
    def damage(path: Path) -> None:
        manifest = json.loads((path / "manifest.json").read_text())
        del manifest[key]
        (path / "manifest.json").write_text(json.dumps(manifest))

    return damage


def claiming(shape: str, **options: object) -> object:
    """Arrays of which one says in its header that it has a shape, over 12 bytes of data."""

    def damage(path: Path) -> None:
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        with zipfile.ZipFile(path / "arrays.npz", "w", **options) as archive:
            content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(12)
            archive.writestr("values.npy", content)

    return damage


def encrypt(path: Path) -> None:
    content = bytearray((path / "arrays.npz").read_bytes())
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        content[content.index(mark) + (6 if mark.endswith(b"\x04") else 8)] |= 1
    (path / "arrays.npz").write_bytes(content)


def pipe(name: str) -> object:
    def damage(path: Path) -> None:
        (path / name).unlink()
        os.mkfifo(path / name)

    return damage


DAMAGES = {
    "a trillion numbers": claiming("(1000000, 1000000)"),
    "more than numbers count": claiming("(" + "9" * 40 + ",)"),
    "less than nothing": claiming("(-3,)"),
    "a shape that is code": claiming("__import__('os')"),
    "another compression": claiming("(3,)", compression=zipfile.ZIP_LZMA),
    "encrypted": encrypt,
    "a manifest that never ends": pipe("manifest.json"),
    "arrays that never end": pipe("arrays.npz"),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "no arrays": lambda path: (path / "arrays.npz").unlink(),
    "empty manifest": damage_manifest(""),
    "half a manifest": damage_manifest('{"format": 1, "kind": "Attrib'),
    "a list": damage_manifest("[]"),
    "a deep one": damage_manifest('{"values": ' + "[" * 100_000),
    "null": damage_manifest("null"),
    "values are null": damage_manifest('{"kind": "Attribution", "values": null, "provenance": {}}'),
    "unknown kind": damage_manifest('{"kind": "Nonsense", "values": {}, "provenance": {}}'),
    "no values": without("values"),
    "no provenance": without("provenance"),
    "no kind": without("kind"),
    "not text": lambda path: (path / "manifest.json").write_bytes(b"\xff\xfe\x00"),
    "empty arrays": lambda path: (path / "arrays.npz").write_bytes(b""),
    "not a zip": lambda path: (path / "arrays.npz").write_bytes(b"nonsense"),
    "half a zip": lambda path: (path / "arrays.npz").write_bytes((path / "arrays.npz").read_bytes()[:300]),
    "flipped bits": lambda path: (path / "arrays.npz").write_bytes(
        bytes(b ^ 255 if 60 < i < 120 else b for i, b in enumerate((path / "arrays.npz").read_bytes()))
    ),
    "a pickle": lambda path: np.savez(path / "arrays.npz", values=np.array([{"a": 1}], object)),
    "one array too few": lambda path: np.savez(path / "arrays.npz", values=np.zeros(3)),
    "one array too many": lambda path: np.savez(path / "arrays.npz", more=np.zeros(3)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_an_error_naming_the_directory(tmp_path: Path, no_picture: None, damage: str) -> None:
    attribution().save(tmp_path / "out")
    DAMAGES[damage](tmp_path / "out")
    with pytest.raises(OutputError, match=r"out: not a saved"):
        Attribution.load(tmp_path / "out")


def test_what_memory_has_no_room_for_is_not_read(
    tmp_path: Path, no_picture: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros that take a thousandth of their size on the disk; only their header is looked at."""
    attribution().save(tmp_path / "out")
    np.savez_compressed(tmp_path / "out" / "arrays.npz", values=np.zeros((20, 1000, 1000), np.float32))
    monkeypatch.setattr("convscope.results.files.memory_limit", lambda: 50_000_000)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("the arrays were read"))
    with pytest.raises(OutputError, match=r"arrays.npz: holds 0.1 GB, more than half of the memory .* \(0.1 GB\)"):
        Attribution.load(tmp_path / "out")
    monkeypatch.setattr("convscope.results.files.memory_limit", lambda: 100)
    with pytest.raises(OutputError, match=r"manifest.json: holds"):
        Attribution.load(tmp_path / "out")


def test_names_of_any_bytes_are_saved_and_stay_on_their_line(tmp_path: Path) -> None:
    odd = ("\udcff\x1b[2J\n.jpg",)
    origin = dataclasses.replace(
        PROVENANCE, parameters={"target": "\x1b]0;\x07"}, skipped=("\udcfe.jpg: broken",), notes=("\udcfe",)
    )
    saved = dataclasses.replace(attribution(), names=odd, targets=("\ud83d",), provenance=origin)
    found = Attribution.load(saved.save(tmp_path / "\udcff out"))
    assert (found.names, found.targets, found.provenance) == (odd, ("\ud83d",), origin)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]", repr(found))
    assert len(repr(found).splitlines()) == 2
    assert (tmp_path / "\udcff out" / "picture.png").stat().st_size > 1000


def test_what_was_never_saved_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "no", tmp_path / "file"):
        with pytest.raises(OutputError, match="not a saved"):
            Result.load(place)
