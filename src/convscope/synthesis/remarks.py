"""What the reader of a finished picture should know before believing it."""

from __future__ import annotations

from collections.abc import Sequence

from .ascent import Settings
from .objectives import Rival


def remarks(start: float, scores: Sequence[float], rival: Rival | None, settings: Settings) -> list[str]:
    """A sentence for each way in which the ascent has missed its aim.

    Args:
        start: the score of the picture that the ascent began with.
        scores: those at the steps, and of the finished picture.
        rival: the class that the network takes the finished picture for, where it is not the target.
        settings: which of them may be at fault.
    """
    final = scores[-1]
    if len({start, *scores}) == 1:  # as a dead unit, or one whose ReLU is shut at the start
        return [f"the score stayed at {final:.4g}: no pixel changes it from this start; try another"]
    found = []
    if final < start and f"{final:.4g}" != f"{start:.4g}":
        found.append(
            f"the score fell from {start:.4g} at the start to {final:.4g}, so this is not what the target likes: "
            f"try {_milder(settings)}"
        )
    if rival is not None:
        other = (
            ", or the target's log probability, which counts the other classes, "
            f"target=lambda output: output.log_softmax(1)[:, {rival.target}]"
        )
        found.append(
            f"the network takes the finished picture for {rival.label!r} (score {rival.score:.4g}), not for the "
            f"target ({rival.target_score:.4g}): try {_milder(settings)}{other if rival.has_logits else ''}"
        )
    return found


def _milder(settings: Settings) -> str:
    """The settings that pull against the score, with what they were, as something to lower."""
    used = {"jitter_px": settings.jitter_px, "blur": settings.blur, "clear": settings.clear}
    pulling = [f"{name} (it was {value:g})" for name, value in used.items() if value]
    pulling = pulling or [f"step_size (it was {settings.step_size:g})"]
    return "a smaller " + " or ".join(pulling)
