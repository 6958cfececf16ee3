"""What may be wrong in a collection of images: labels, and images that stand apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..texts import counted, printable
from .base import Array, Result

_SHOWN = 5  # images in a repr
_WHAT = {
    "label": "by how doubtful their labels are",
    "outlier": "by how far they lie from all others",
    "uncertain": "by how undecided the network is",
}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Suspects(Result):
    """N images ranked by how suspect they are, the most suspect first, and the reasons for the first L of them.

    ``kind`` says what is suspected: "label", "outlier" or "uncertain"; `convscope.suspects` defines the ``scores``
    (N,) float32 of each. ``names`` and ``labels`` (N) are the images', and ``suggested`` (N) are the labels that
    the evidence favors: the image's own where it does not speak for another, None without any evidence.

    ``by_neighbors`` and ``by_network`` (N,) float32 in [0, 1] are the two kinds of evidence against a label, NaN
    where there is none. ``predicted`` (N) is what the network takes the image for, with ``probability`` (N,).

    The reasons: ``near`` (L, K) int64 points into ``near_names``, ``near_labels`` and ``near_thumbnails``, nearest
    first; ``similarity`` (L, K) float32 is the cosine. ``thumbnails`` are of the first L.
    """

    has_picture: ClassVar[bool] = False

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
    by_network: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    predicted: tuple[str | None, ...] = ()
    probability: Array = field(default_factory=lambda: np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n_doubted(self) -> int:
        """How many images have a label that the evidence speaks against."""
        pairs = zip(self.labels, self.suggested, strict=True)
        return sum(label is not None and other is not None and label != other for label, other in pairs)

    def reason(self, i: int) -> str:
        """Why the i-th image, of the first L, stands where it does, in words."""
        labels = [self.near_labels[j] for j in self.near[i]]
        parts = []
        labeled = [label for label in labels if label is not None]
        if self.kind == "outlier":
            parts.append(f"nearest at a cosine of {self.similarity[i, 0]:.2f}")
        elif labeled and (favored := self.suggested[i]) is not None:
            parts.append(f"{labeled.count(favored)} of {len(labels)} neighbors are {favored}")
        if self.predicted and (name := self.predicted[i]) is not None and self.kind != "outlier":
            parts.append(f"the network says {name} ({self.probability[i]:.0%})")
        return ", ".join(parts)

    def __repr__(self) -> str:
        doubt = f"; the evidence speaks for another label in {self.n_doubted}" if self.kind == "label" else ""
        lines = [f"Suspects({counted(len(self), 'image')} ranked {_WHAT[self.kind]}{doubt})"]
        for i in range(min(_SHOWN, len(self.near))):
            label, other = self.labels[i], self.suggested[i]
            said = f"{label or 'no label'}" + (f" -> {other}" if other is not None and other != label else "")
            lines.append(printable(f"  {self.scores[i]:.3f}  {self.names[i]}  {said}: {self.reason(i)}"))
        return "\n".join([*lines, f"  {self.provenance.caption}"])
