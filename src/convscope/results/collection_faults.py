"""What may be wrong in a collection of images: copies, labels, and images that stand apart."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..checks import which_is_nearer
from ..texts import counted, listed, printable
from .base import Array, Result

_SHOWN = 5  # images in a repr
_NEAREST = 5  # neighbors of a reason in words
_WHAT = {
    "label": "by how doubtful their labels are",
    "outlier": "by how far they lie from all others",
    "uncertain": "by how undecided the network is",
}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Duplicates(Result):
    """Images that are nearly the same: ``groups``, and ``pairs`` (P, 2) int64 into ``names``, nearest pair first.

    ``names`` are those of all groups, the largest first, and in each the image to keep before the others;
    ``sizes`` (G,) are the groups'. Images with the same ``content`` (M,) int64 are the same byte for byte; it is
    the place of one of them in ``names``. ``n_pixels`` and ``n_bytes`` (M,) int64 are those of the files, 0 where
    they are unknown. ``is_other`` (M,) bool: the image is of the collection that the source was compared with.

    ``scores`` (P,) by ``metric``: a similarity (higher is nearer) or a euclidean distance (lower is nearer);
    ``threshold`` is the score from which on a pair counts. ``is_copy`` (P,) bool: both files have the same
    content. ``is_equal`` (P,) bool: both images are equal to the network, as copies are; of a group of equal
    images, each is paired with the next one only. ``n_pairs`` is how many pairs were found, of which P are kept
    here; of those found, ``n_equal`` are pairs of equal images, and ``n_pictures`` are beyond the threshold, but
    show the same picture. All of them make the groups.
    """

    pairs: Array
    scores: Array
    is_copy: Array
    n_pairs: int
    metric: str
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    thumbnails: Array
    is_equal: Array = field(default_factory=lambda: np.zeros(0, bool))
    n_equal: int = 0
    n_pictures: int = 0
    threshold: float = float("nan")
    sizes: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    content: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    n_pixels: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    n_bytes: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    is_other: Array = field(default_factory=lambda: np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def n_near(self) -> int:
        """How many pairs were found by their vectors alone: not equal, and within the threshold."""
        return self.n_pairs - self.n_equal - self.n_pictures

    @property
    def starts(self) -> Array:
        """The places (G,) of the images to keep, which begin the groups."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def groups(self) -> list[list[str]]:
        """The names of the images in each group, the one to keep first."""
        return [list(self.names[at : at + n]) for at, n in zip(self.starts, self.sizes, strict=True)]

    @property
    def copies(self) -> list[list[str]]:
        """The names of images with the same content, byte for byte: exact copies, apart from near ones."""
        alike: dict[int, list[str]] = {}
        for name, content in zip(self.names, self.content.tolist(), strict=True):
            alike.setdefault(content, []).append(name)
        return [names for names in alike.values() if len(names) > 1]

    def __repr__(self) -> str:
        lines = [f"Duplicates({groups_in_words(self)}; {pairs_in_words(self)})"]
        for kept, *others in self.groups[:_SHOWN]:
            lines.append(printable(f"  keep {kept}  like {listed(others, 3)}"))
        return "\n".join([*lines, f"  {self.provenance.caption}"])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Suspects(Result):
    """N images ranked by how suspect they are, the most suspect first, and the reasons for the first L of them.

    ``kind`` says what is suspected: "label", "outlier" or "uncertain"; `convscope.suspects` defines the ``scores``
    (N,) float32 of each. ``names`` and ``labels`` (N) are the images', and ``suggested`` (N) are the labels that
    the evidence favors: the image's own where it does not speak for another, None without any evidence.

    ``by_neighbors``, ``by_linear`` and ``by_network`` (N,) float32 in [0, 1] are the kinds of evidence against a
    label, NaN where there is none. ``predicted`` (N) is what the network takes the image for, with
    ``probability`` (N,).

    The reasons: ``near`` (L, K) int64 points into ``near_names``, ``near_labels`` and ``near_thumbnails``, nearest
    first; ``similarity`` (L, K) float32 is the cosine. ``thumbnails`` are of the first L.
    """

    kind: str
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    suggested: tuple[str | None, ...]
    scores: Array
    near: Array
    similarity: Array
    near_names: tuple[str, ...]
    near_labels: tuple[str | None, ...]
    thumbnails: Array
    near_thumbnails: Array
    by_neighbors: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    by_linear: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    by_network: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    predicted: tuple[str | None, ...] = ()
    probability: Array = field(default_factory=lambda: np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def is_doubted(self) -> Array:
        """(N,) bool: the evidence favors another label than the image's."""
        pairs = zip(self.labels, self.suggested, strict=True)
        return np.array([None not in pair and pair[0] != pair[1] for pair in pairs], bool)

    @property
    def n_doubted(self) -> int:
        """How many images have a label that the evidence speaks against."""
        return int(self.is_doubted.sum())

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why each of the first L images stands where it does, in words."""
        return tuple(self._reason(i) for i in range(len(self.near)))

    def _reason(self, i: int) -> str:
        labels = [self.near_labels[j] for j in self.near[i, :_NEAREST]]
        parts = []
        labeled = [label for label in labels if label is not None]
        if self.kind == "outlier":
            parts.append(f"nearest at a cosine of {self.similarity[i, 0]:.2f}")
        elif labeled and (favored := self.suggested[i]) is not None:
            n = labeled.count(favored)
            which = f"all {n}" if n == len(labels) > 1 else f"{n} of its {len(labels)}"
            parts.append(f"{which} nearest are {favored}")
            if len(self.by_linear) and np.isfinite(self.by_linear[i]):
                share = 1 - self.by_linear[i]
                parts.append(f"a classifier trained on all other images gives {self.labels[i]} {share:.0%}")
        # Where the labels are no classes of the network, its answer has nothing to do with them.
        is_evidence = self.kind == "uncertain" or (len(self.by_network) > 0 and np.isfinite(self.by_network[i]))
        if is_evidence and self.predicted and (name := self.predicted[i]) is not None:
            parts.append(f"the network says {name} ({self.probability[i]:.0%})")
        return ", ".join(parts)

    def __repr__(self) -> str:
        doubt = f"; the evidence speaks for another label in {self.n_doubted}" if self.kind == "label" else ""
        lines = [f"Suspects({counted(len(self), 'image')} ranked {_WHAT[self.kind]}{doubt})"]
        is_doubted = self.is_doubted
        for i in range(min(_SHOWN, len(self.near))):
            said = (self.labels[i] or "no label") + (f" -> {self.suggested[i]}" if is_doubted[i] else "")
            lines.append(printable(f"  {self.scores[i]:.3f}  {self.names[i]}  {said}: {self._reason(i)}"))
        return "\n".join([*lines, f"  {self.provenance.caption}"])


def groups_in_words(found: Duplicates) -> str:
    """How many groups there are, and how many images could go."""
    n_again = len(found.names) - len(found.sizes)
    groups = f"{counted(len(found.sizes), 'group')} of {counted(len(found.names), 'image')}"
    return f"{groups}, {n_again} besides those to keep"


def pairs_in_words(found: Duplicates) -> str:
    """How many pairs there are of each kind, and how many of them are kept."""
    beyond = "up to" if found.metric == "euclidean" else "at or above"
    kept = "" if found.n_pairs == len(found) else f"; {len(found)} are kept"
    return (
        f"{counted(found.n_pairs, 'pair')}: {found.n_equal} of equal images, {found.n_near} {beyond} "
        f"{found.threshold:.6g} ({found.metric}, {which_is_nearer(found.metric)}), "
        f"{found.n_pictures} of the same picture{kept}"
    )


def size_of(found: Duplicates, at: int) -> str:
    """The size of the file at a place in ``names``, such as "12 MP, 3,400 kB"; empty where it is unknown.

    Less than a megapixel is counted in pixels: few people know what 0.066 MP are.
    """
    if at >= len(found.n_pixels) or not found.n_pixels[at]:
        return ""
    megapixels, kilobytes = found.n_pixels[at] / 1e6, found.n_bytes[at] / 1000
    size = f"{megapixels:,.0f} MP" if megapixels >= 10 else f"{megapixels:.1f} MP"
    if megapixels < 1:
        size = f"{found.n_pixels[at]:,} pixels"
    return f"{size}, {kilobytes:,.0f} kB" if kilobytes else size


def has_other_label(found: Suspects, i: int, j: int) -> bool:
    """Whether image i and the one at j among the near ones have different labels; an unknown one is none."""
    pair = found.labels[i], found.near_labels[j]
    return None not in pair and pair[0] != pair[1]
