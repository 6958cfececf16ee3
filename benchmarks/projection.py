"""Principal components of a store, and t-SNE, against scikit-learn's and openTSNE's own.

    python benchmarks/projection.py              # 100,000 x 1280 and 10,000 points
    python benchmarks/projection.py --n 20000 --points 2000

Principal components are computed from the store on disk, in one pass; scikit-learn's IncrementalPCA gets the same
vectors from memory. The explained variance is compared with a full decomposition of the covariance in float64.
t-SNE begins with 50 principal components both times, and ours measures in its time how far the map can be
trusted. Peak memory is that of a process of its own, above what it takes once everything is imported.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import openTSNE
from scipy import linalg
from sklearn.decomposition import PCA, IncrementalPCA

from convscope import EmbeddingStore, project
from convscope.embedding.moments import Components, moments_of
from interleaved import interleaved, ratio

PCA_TARGET, TSNE_TARGET, MEMORY_TARGET = 0.7, 1.05, 500


def vectors(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Groups in a space whose variances fall, as those of features do."""
    rng = np.random.default_rng(seed)
    scale = (1 / np.sqrt(np.arange(1, d + 1))).astype(np.float32)
    points = rng.standard_normal((n, d), np.float32)
    return (points + 2 * rng.standard_normal((20, d), np.float32)[np.arange(n) % 20]) * scale


def components(store: EmbeddingStore) -> Components:
    return Components.of(moments_of(block.vectors for block in store.blocks()))


def against_scikit_learn(place: Path, points: np.ndarray, rounds: int) -> None:
    store = EmbeddingStore.of_vectors(place, points)

    def incremental() -> None:
        peer = IncrementalPCA(50, batch_size=5000)
        for first in range(0, len(points), 5000):
            peer.partial_fit(points[first : first + 5000])

    times = interleaved({"ours": lambda: components(store), "peer": incremental}, rounds, warm_up=False)
    for name, values in times.items():
        print(f"{name:5} {np.median(values):7.2f} s")
    print(f"components / IncrementalPCA(50): {ratio(times, 'ours', 'peer'):.2f} (at most {PCA_TARGET})")
    centered = points.astype(np.float64)
    centered -= centered.mean(axis=0)
    exact = linalg.eigvalsh(centered.T @ centered)[::-1]
    off = np.abs(components(store).ratios - exact / exact.sum()).max()
    print(f"explained variance ratios differ from a full decomposition by at most {off:.1e} (at most 1e-6)")


def against_open_tsne(n: int, rounds: int) -> None:
    points = vectors(n, 256, seed=1)

    def alone() -> None:
        reduced = PCA(50, svd_solver="covariance_eigh").fit_transform(points)
        openTSNE.TSNE(2, perplexity=30, random_state=0, n_jobs=-1).fit(reduced.astype(np.float32))

    times = interleaved({"ours": lambda: project(points, method="tsne"), "peer": alone}, rounds, warm_up=False)
    for name, values in times.items():
        print(f"{name:5} {np.median(values):7.2f} s")
    print(f"project / openTSNE alone, {n} points: {ratio(times, 'ours', 'peer'):.2f} (at most {TSNE_TARGET})")


def peak(place: Path) -> None:
    """Of a process that imports everything, and then projects."""
    store = EmbeddingStore.open(place)
    components(EmbeddingStore.of_vectors(place.with_name("small.lance"), vectors(200, 8)))
    before = high_water()
    components(store)
    print(high_water() - before)


def high_water() -> int:
    """Peak memory in MB; getrusage's would be that of the process that started this one, where it is higher."""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=1280)
    parser.add_argument("--points", type=int, default=10_000, help="for t-SNE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        peak(options.peak)
        return
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "s.lance"
        started = time.perf_counter()
        points = vectors(options.n, options.dims)
        against_scikit_learn(place, points, options.rounds)
        command = [sys.executable, __file__, "--peak", str(place)]
        above = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        print(f"peak memory above the process's base: {above} MB (at most {MEMORY_TARGET})")
        print(f"({time.perf_counter() - started:.0f} s in all)")
    against_open_tsne(options.points, options.rounds)


if __name__ == "__main__":
    main()
