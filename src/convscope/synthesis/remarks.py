"""Warnings on a finished picture: the ascent failed, or another class scores higher."""

from __future__ import annotations

from collections.abc import Sequence

from .evidence import Rival
from .presets import Recipe


def remarks(
    start: float, scores: Sequence[float], rival: Rival | None, recipe: Recipe, distance: float | None = None
) -> list[str]:
    """One sentence for each way in which the ascent failed.

    Args:
        start: the score of the first picture.
        scores: the scores at the steps, and of the finished picture.
        rival: the class that the network predicts for the finished picture, if it is not the target.
        recipe: that of the ascent, some of which may be the cause.
        distance: how near to a photo it had to stay, which is a cause before all others.
    """
    final = scores[-1]
    advice = _milder(recipe) if distance is None else f"a larger distance (it was {distance:g})"
    if len({start, *scores}) == 1:  # a dead unit, or a score that depends on nothing
        return [f"the score stayed at {final:.4g}: from this start no pixel changes it; try another start"]
    found = []
    if final <= start:
        found.append(
            f"no step raised the score above {start:.4g}, so this is the picture of the start: try {advice}"
        )
    if rival is not None:
        other = (
            ", or the target's log probability, which also lowers the other classes, "
            f"target=lambda output: output.log_softmax(1)[:, {rival.target}]"
        )
        found.append(
            f"the network takes the finished picture for {rival.label!r} (score {rival.score:.4g}), not for the "
            f"target ({rival.target_score:.4g}): try {advice}{other if rival.has_logits else ''}"
        )
    return found


def _milder(recipe: Recipe) -> str:
    """Advice to lower what works against the score, with the values of the recipe."""
    names = ("jitter", "rotate", "noise", "blur", "clear")
    pulling = [f"{name} (it was {value:g})" for name in names if (value := getattr(recipe, name))]
    pulling = pulling or [f"step_size (it was {recipe.step_size:g})"]
    return "a recipe with a smaller " + " or ".join(pulling)
