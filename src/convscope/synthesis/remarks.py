"""Warnings on a finished picture: the ascent failed, or another class scores higher."""

from __future__ import annotations

from collections.abc import Sequence

from .ascent import Settings
from .objectives import Rival


def remarks(start: float, scores: Sequence[float], rival: Rival | None, settings: Settings) -> list[str]:
    """One sentence for each way in which the ascent failed.

    Args:
        start: the score of the first picture.
        scores: the scores at the steps, and of the finished picture.
        rival: the class that the network predicts for the finished picture, if it is not the target.
        settings: those of the ascent, some of which may be the cause.
    """
    final = scores[-1]
    if len({start, *scores}) == 1:  # a dead unit, or one whose ReLU is closed at the start
        return [f"the score stayed at {final:.4g}: from this start no pixel changes it; try another start"]
    found = []
    if final < start and f"{final:.4g}" != f"{start:.4g}":
        found.append(
            f"the score fell from {start:.4g} at the start to {final:.4g}, so this picture does not show the "
            f"target: try {_milder(settings)}"
        )
    if rival is not None:
        other = (
            ", or the target's log probability, which also lowers the other classes, "
            f"target=lambda output: output.log_softmax(1)[:, {rival.target}]"
        )
        found.append(
            f"the network takes the finished picture for {rival.label!r} (score {rival.score:.4g}), not for the "
            f"target ({rival.target_score:.4g}): try {_milder(settings)}{other if rival.has_logits else ''}"
        )
    return found


def _milder(settings: Settings) -> str:
    """Advice to lower the settings that work against the score, with their values."""
    used = {"jitter_px": settings.jitter_px, "blur": settings.blur, "clear": settings.clear}
    pulling = [f"{name} (it was {value:g})" for name, value in used.items() if value]
    pulling = pulling or [f"step_size (it was {settings.step_size:g})"]
    return "a smaller " + " or ".join(pulling)
