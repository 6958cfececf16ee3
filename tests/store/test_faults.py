"""A store outlives full disks, kills in its first moments, forks and hanging writers."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from convscope import EmbeddingStore, StoreError, cluster, export, project
from convscope.store import lance, lance_table, writing

VECTORS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "s.lance"


@pytest.fixture
def store(place: Path) -> EmbeddingStore:
    return EmbeddingStore.of_vectors(place, VECTORS)


@pytest.mark.parametrize("left", ["images.lance", "images.lance/data", "images.lance/_versions", "fits.lance"])
def test_a_folder_in_which_nothing_was_committed_counts_as_absent(place: Path, left: str) -> None:
    (place / left).mkdir(parents=True)
    with pytest.raises(StoreError, match="no store there"):
        EmbeddingStore.open(place)
    store = EmbeddingStore.of_vectors(place, VECTORS)
    cluster(store, method="kmeans", n_clusters=3)
    assert len(EmbeddingStore.open(place)) == 40


def test_what_was_fitted_is_made_again_after_a_kill(store: EmbeddingStore, place: Path) -> None:
    (place / "fits.lance").mkdir()
    assert store.fits.recall("clusters") is None
    cluster(store, method="kmeans", n_clusters=3)
    assert EmbeddingStore.open(place).fits.recall("clusters") is not None


class Died(BaseException):
    """As if the process had been killed."""


class Dying:
    """A table that dies at its n-th commit."""

    def __init__(self, table: Any, n: int) -> None:
        self._table, self.n_left = table, n

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._table, name)
        if name == "merge_insert":
            return lambda *given: _DyingMerge(self, found(*given))
        return self._counted(found) if name in ("add", "add_columns", "alter_columns", "drop_columns") else found

    def _counted(self, commit: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if self.n_left == 0:
                raise Died
            self.n_left -= 1
            return commit(*args, **kwargs)

        return run


class _DyingMerge:
    def __init__(self, owner: Dying, builder: Any) -> None:
        self._owner, self._builder = owner, builder

    def when_matched_update_all(self) -> _DyingMerge:
        return _DyingMerge(self._owner, self._builder.when_matched_update_all())

    def when_not_matched_insert_all(self) -> _DyingMerge:
        return _DyingMerge(self._owner, self._builder.when_not_matched_insert_all())

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        return self._owner._counted(self._builder.execute)(*args, **kwargs)


@pytest.mark.parametrize("n", range(6))
def test_new_columns_appear_whole_or_not_at_all(store: EmbeddingStore, place: Path, n: int) -> None:
    paths = store.to_arrow(["path"])["path"].to_pylist()
    old = pa.table({"path": paths, "x": np.arange(40.0), "y": np.arange(40.0)})
    new = pa.table({"path": paths[:30], "x": np.full(30, -1.0), "y": np.full(30, -1.0), "z": np.full(30, -1.0)})
    store.add_columns(old)
    with store.table.writing() as table:
        dying = Dying(table, n)
    try:
        writing.set_columns(dying, new)
        died = False
    except Died:
        died = True
    found = EmbeddingStore.open(place).to_arrow()
    assert not [name for name in found.schema.names if name.startswith("_")]
    if "z" in found.schema.names:
        assert sorted(v for v in found["z"].to_pylist() if v is not None) == [-1.0] * 30
        assert sorted(found["x"].to_pylist()) == [-1.0] * 30 + list(np.arange(30.0, 40.0))
    else:
        assert died
        assert sorted(found["x"].to_pylist()) == list(np.arange(40.0))
    store.add_columns(new)  # what was left is no hindrance
    assert EmbeddingStore.open(place).count("z = -1") == 30
    with store.table.writing() as table:
        assert not [name for name in table.schema.names if name.startswith("_")]


def test_clusters_of_a_run_that_died_are_not_mixed_with_older_ones(
    store: EmbeddingStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(store, method="kmeans", n_clusters=3)
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingStore, "add_columns", lambda *_, **__: (_ for _ in ()).throw(Died))
        with pytest.raises(Died):
            cluster(store, method="kmeans", n_clusters=5)
    assert EmbeddingStore.open(place).fits.recall("clusters") is None  # three clusters, and nothing said of five


@pytest.mark.parametrize("sign", ["No space left on device (os error 28)", "Disk quota exceeded (os error 122)"])
def test_a_full_disk_is_called_one(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch, sign: str) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"lance error: LanceError(IO): Generic LocalFileSystem error: {sign}, rust/lance.rs:1")

    monkeypatch.setattr("convscope.store.lance_table.write_rows", fail)
    with pytest.raises(StoreError, match=r"the disk is full; what was written before is not lost"):
        store.write(store.to_arrow())


def test_a_folder_that_cannot_be_made_on_a_full_disk(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(StoreError, match="the disk is full"):
        EmbeddingStore.of_vectors(place, VECTORS)


@pytest.mark.slow
def test_a_lock_that_is_held_elsewhere_is_waited_for_and_then_said(
    store: EmbeddingStore, place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lance, "TOLD_SECONDS", 0.05)
    monkeypatch.setattr(lance, "WAIT_SECONDS", 0.2)
    code = f"""
        import time
        from convscope.store.lance import lock
        with lock({str(place)!r}):
            print("held", flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            caplog.at_level(logging.WARNING),
            pytest.raises(StoreError, match=rf"process {holder.pid} on .*waited"),
        ):
            store.write(store.to_arrow())
        assert f"waiting for process {holder.pid}" in caplog.text
        assert len(store) == 40  # reading goes on
        holder.send_signal(signal.SIGKILL)
    store.write(store.to_arrow())  # a lock dies with its holder


def test_threads_wait_for_one_another(store: EmbeddingStore, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, is_writing = store.to_arrow(), threading.Event()

    def write_rows(*args: Any, **options: Any) -> None:
        is_writing.set()
        writing.write_rows(*args, **options)

    monkeypatch.setattr(lance_table, "write_rows", write_rows)
    thread = threading.Thread(target=store.write, args=(rows,))
    with lance.lock(str(place)):
        thread.start()
        assert not is_writing.wait(0.5)
    assert is_writing.wait(60)
    thread.join(60)
    assert len(EmbeddingStore.open(place)) == 40


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_process_is_told_rather_than_left_hanging(store: EmbeddingStore) -> None:
    code = f"""
        import os, signal, warnings
        warnings.simplefilter("ignore")
        from convscope import EmbeddingStore, StoreError, neighbors
        store = EmbeddingStore.open({store.place!r})
        neighbors(store, "vector 1")
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            asked = (len, lambda s: neighbors(s, "vector 0"), lambda s: EmbeddingStore.open(s.place))
            for ask in asked:
                try:
                    ask(store)
                except StoreError as error:
                    if "spawn" in str(error):
                        continue
                os._exit(8)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert len(store) == 40
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=120)


def test_a_projection_is_written_whole(store: EmbeddingStore, place: Path) -> None:
    project(store, n_components=2)
    project(store, n_components=3)
    opened = EmbeddingStore.open(place)
    assert opened.count("pca_x IS NOT NULL AND pca_z IS NOT NULL") == 40


# Imports once, and decides in a fork for each moment at which to be killed: LanceDB is loaded there only.
_DECIDES = """
import os, signal, sys
from convscope import EmbeddingStore
import convscope.store.lance_table

def decide(place, nth):
    from lancedb.merge import LanceMergeInsertBuilder
    from lancedb.table import LanceTable
    commits = 0
    def dying(commit):
        def run(*args, **kwargs):
            nonlocal commits
            done = commit(*args, **kwargs)
            commits += 1
            if commits == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return done
        return run
    store = EmbeddingStore.open(place)
    merge = LanceMergeInsertBuilder
    for kind, name in [(LanceTable, "add_columns"), (merge, "execute"), (LanceTable, "alter_columns")]:
        setattr(kind, name, dying(getattr(kind, name)))
    store.decide(["vector 1", "vector 2"], "relabel", label="new")

for arg in sys.argv[1:]:
    place, nth = arg.rsplit(":", 1)
    if (pid := os.fork()) == 0:
        decide(place, int(nth))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (arg, status)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_decision_is_recorded_whole_or_not_at_all_when_its_process_is_killed(
    store: EmbeddingStore, place: Path, tmp_path: Path
) -> None:
    """The first one adds columns, in three commits; a later one is one commit."""
    store.decide(["vector 3"], "keep")
    later = tmp_path / "later-1"
    shutil.copytree(place, later)
    EmbeddingStore.of_vectors(tmp_path / "fresh", VECTORS)
    firsts = [tmp_path / f"first-{n}" for n in (1, 2, 3)]
    for first in firsts:
        shutil.copytree(tmp_path / "fresh", first)
    moments = [f"{first}:{n}" for n, first in enumerate(firsts, 1)] + [f"{later}:1"]
    done = subprocess.run([sys.executable, "-c", _DECIDES, *moments], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    new = {"vector 1": "new", "vector 2": "new"}
    found = []
    for killed in (*firsts, later):
        opened = EmbeddingStore.open(killed)
        assert not [name for name in opened.schema.names if name.startswith("_")]
        is_there = "decision" in opened.schema.names
        found.append(opened.by_path("decided_label", "decision = 'relabel'") if is_there else {})
        assert opened.decide(["vector 1"], "drop") == 1, "what was left is no hindrance"
        assert export(opened, tmp_path / f"{killed.name}.csv").n_dropped == 1
    assert found == [{}, {}, new, new]
    assert EmbeddingStore.open(later).by_path("decision", "decision = 'keep'") == {"vector 3": "keep"}
