"""Kill `convscope embed --store` at random moments, run it again, and compare with a run that nobody disturbed.

    python benchmarks/embedding_faults.py --n 1000 --kills 20 --early 10

Row count, ids and vectors have to be the same, and no kill may lose more than what one write holds. Early kills
come in the first second of a new store, which has to be a store, or none, and to be filled by the next run.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from convscope import EmbeddingStore, StoreError
from embedding import write_jpegs


def start(folder: Path, store: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-c",
        "from convscope.cli import main; main()",
        "embed",
        str(folder),
        "--store",
        str(store),
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def count(store: Path) -> int:
    try:
        return len(EmbeddingStore.open(store))
    except StoreError:
        return 0


def rows(store: Path) -> list[tuple[str, str, list[float]]]:
    found = EmbeddingStore.open(store).to_arrow(["path", "id", "vector"]).to_pylist()
    return sorted((row["path"], row["id"], row["vector"]) for row in found)


def kill_early(folder: Path, n: int, chance: random.Random) -> None:
    """Kill a run within a second of its store's folder, and fill that by another run; n times."""
    few = folder.parent / "few"
    few.mkdir()
    for file in sorted(folder.iterdir())[:40]:
        (few / file.name).symlink_to(file)
    for kill in range(n):
        place = folder.parent / f"early-{kill}.lance"
        process = start(few, place)
        begun = place if kill % 2 else place / "images.lance"  # before there is a table, or while it is made
        while not begun.exists():
            time.sleep(0.001)
        after = chance.uniform(0, 1)
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        process.wait()
        left = sorted(path.name for path in place.rglob("*") if path.is_dir())
        try:
            have = f"{len(EmbeddingStore.open(place))} rows"
        except StoreError as error:
            assert "no store there" in str(error), error  # noqa: PT017
            have = "no store"
        assert start(few, place).wait() == 0
        print(
            f"early kill {kill + 1:2} after {after:4.2f} s: {have} ({', '.join(left) or 'empty'}), then", end=" "
        )
        print(f"{count(place)} rows", flush=True)
        assert count(place) == 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000, help="images")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--early", type=int, default=10, help="kills in the first second of a new store")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        write_jpegs(folder, options.n)
        kill_early(folder, options.early, chance)
        started = time.perf_counter()
        assert start(folder, Path(name) / "whole.lance").wait() == 0
        seconds = time.perf_counter() - started
        expected = rows(Path(name) / "whole.lance")
        print(f"undisturbed: {len(expected)} rows in {seconds:.1f} s", flush=True)
        place, had = Path(name) / "killed.lance", 0
        for kill in range(options.kills):
            process = start(folder, place)
            after = chance.uniform(0.1, 1.0) * min(seconds, 12)
            time.sleep(after)
            process.send_signal(signal.SIGKILL)
            process.wait()
            have = count(place)
            print(f"kill {kill + 1:2} after {after:5.2f} s: {had:5} -> {have:5} rows", flush=True)
            assert have >= had
            had = have
            if have == options.n:  # begin again, so that kills meet a store that is being filled
                EmbeddingStore.open(place).delete(f"path > '{folder}/{options.n // 4:05d}'")
                had = count(place)
                print(f"        three quarters are removed: {had} rows")
        assert start(folder, place).wait() == 0
        found = rows(place)
    same = [a[:2] == b[:2] for a, b in zip(found, expected, strict=True)]
    off = max(np.abs(np.subtract(a[2], b[2])).max() for a, b in zip(found, expected, strict=True))
    print(f"{len(found)} rows, {sum(same)} with the same path and id; vectors differ by at most {off:.1e}")
    assert all(same)
    assert off == 0


if __name__ == "__main__":
    main()
