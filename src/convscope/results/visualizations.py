"""What feature visualization returns: a picture that a target likes, and the evidence that it is one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..arguments import checks_arguments
from ..errors import ParameterError
from ..outputs import check_output, replace_file
from ..texts import counted, printable
from .base import Array, Result
from .films import check_film, film


class Judgment(NamedTuple):
    """What a network takes a picture for: its first class, with the probabilities of that and of the target.

    ``target_probability`` is NaN for a network that does not know the target.
    """

    network: str
    label: str
    probability: float
    target_probability: float

    @property
    def is_target(self) -> bool | None:
        """Whether the target is its first class; None if it does not know the target."""
        return None if math.isnan(self.target_probability) else self.target_probability >= self.probability

    def __str__(self) -> str:
        if self.is_target or self.is_target is None:
            return f"{self.network} takes it for {self.label} ({self.probability:.0%})"
        return (
            f"{self.network} takes it for {self.label} ({self.probability:.0%}), "
            f"not for the target ({self.target_probability:.0%})"
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Visualization(Result):
    """The input a target likes best: ``image`` (H, W, 3) uint8 for the eye, ``input`` (C, h, w) for the network.

    ``input`` is what the network sees of the picture after its usual preprocessing, which may crop it.
    ``scores`` (steps + 1,): for t < steps, ``scores[t]`` is the mean score of the views before step t; the last is
    the score of ``input``. ``frames`` (F, H, W, 3) uint8 are pictures on the way there; F = 0 unless they were
    asked for. ``evidence`` is what networks take ``image`` for, once it is rounded to 8 bits: the network itself
    first, then the judge. ``agreement`` is the mean cosine between the embeddings of the pictures of several
    seeds; NaN unless it was asked for. ``original`` (H, W, 3) uint8 is the photo that the picture was made from,
    (0, 0, 3) for one that was made from nothing.
    """

    image: Array
    input: Array
    scores: Array
    frames: Array
    target: str
    evidence: tuple[Judgment, ...] = ()
    agreement: float = math.nan
    original: Array = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))

    def __post_init__(self) -> None:
        object.__setattr__(self, "evidence", tuple(Judgment(*one) for one in self.evidence))  # as read from a file

    @property
    def trust(self) -> str:
        """The evidence in words; empty without any."""
        return "; ".join(self._said)

    @property
    def _said(self) -> list[str]:
        words = [str(judgment) for judgment in self.evidence]
        if not math.isnan(self.agreement):
            words.append(f"seeds agree to {self.agreement:.2f} (cosine)")
        return words

    def __repr__(self) -> str:
        frames = f", {counted(len(self.frames), 'frame')}" if len(self.frames) else ""
        first, *_, last = self.scores.tolist()
        lines = [
            f"Visualization({self.target}: {_size(self.image)}, score {first:.4g} to {last:.4g} in "
            f"{counted(len(self.scores) - 1, 'step')}{frames})",
            *(f"  {words}" for words in self._said),
        ]
        return "\n".join([*map(printable, lines), f"  {self.provenance.caption}"])

    @checks_arguments
    def save_film(self, path: str | Path, *, fps: float = 12.0, overwrite: bool = False) -> Path:
        """Write the frames as a film, whole or not at all: .gif, .webp, or .mp4 (with ``convscope[video]``).

        Args:
            path: a new file; its name says the kind.
            fps: frames a second.
            overwrite: replace a file that is there.

        Raises:
            ParameterError: another kind of file, or a result without frames.
            OutputError: the file is there already, or cannot be written.
        """
        kind = check_film(path)
        if not len(self.frames):
            raise ParameterError("this result has no frames: make it with n_frames=24, say")
        check_output(path, overwrite=overwrite)
        replace_file(path, [film(self.frames, kind, fps)], overwrite=overwrite)
        return Path(path)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Inversion(Result):
    """What is left of an image at L layers: pictures made from nothing but what the layer gives for it.

    ``images`` (L, H, W, 3) uint8 are these pictures, ``original`` (H, W, 3) uint8 is the image as the network saw
    it. ``errors`` (L,) are ||a - a0|| / ||a0|| of the layer's values for picture and image, 0 for the same;
    ``distances`` (L,) are the same ratio of the network's inputs themselves, in which zero is the mean image.
    ``curves`` (L, steps + 1) are the errors before each step, and of the finished picture.
    """

    layers: tuple[str, ...]
    images: Array
    original: Array
    errors: Array
    distances: Array
    curves: Array
    name: str

    def __repr__(self) -> str:
        lines = [f"Inversion({self.name} at {counted(len(self.layers), 'layer')}, {_size(self.original)})"]
        for layer, error, distance in zip(self.layers, self.errors, self.distances, strict=True):
            lines.append(f"  {layer}: off by {error:.1%} at the layer, {distance:.0%} in pixels")
        return "\n".join([*map(printable, lines), f"  {self.provenance.caption}"])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Atlas(Result):
    """A picture for each of K channels of a layer, which has ``n_channels``.

    ``channels`` (K,) are their numbers, ``images`` (K, H, W, 3) uint8 the pictures, and ``scores`` (K,) the mean
    of each channel's map for its picture.
    """

    layer: str
    channels: Array
    images: Array
    scores: Array
    n_channels: int

    def __repr__(self) -> str:
        n = f"{len(self.channels)} of {counted(self.n_channels, 'channel')}"
        scores = f"scores {self.scores.min():.4g} to {self.scores.max():.4g}"
        line = printable(f"Atlas({self.layer}: {n}, {_size(self.images[0])}, {scores})")
        return f"{line}\n  {self.provenance.caption}"


def _size(image: Array) -> str:
    """Of a picture (H, W, 3)."""
    return f"{image.shape[0]}x{image.shape[1]} px"
