"""What the template shows of doubtful labels, each with the images that speak against it."""

from __future__ import annotations

from typing import Any

from ..render import image_uri
from ..results import Suspects
from .wording import caption, short

View = dict[str, Any]

NEAR = 5  # of the nearest images of each suspect


def suspect_views(found: Suspects, limit: int) -> View:
    """The images whose label is doubted, at most ``limit``, and how many there are."""
    doubted = [i for i in range(len(found.near)) if _is_doubted(found, i)][:limit]
    return {
        "suspects": [_suspect(found, i) for i in doubted],
        "n_doubted": found.n_doubted,
        "n_ranked": len(found),
        "suspects_caption": caption(found),
    }


def _is_doubted(found: Suspects, i: int) -> bool:
    return found.suggested[i] is not None and found.suggested[i] != found.labels[i]


def _suspect(found: Suspects, i: int) -> View:
    near = [int(j) for j in found.near[i] if j >= 0][:NEAR]
    return {
        "name": short(found.names[i]),
        "label": found.labels[i],
        "suggested": found.suggested[i],
        "reason": found.reason(i),
        "uri": image_uri(found.thumbnails[i], "jpeg") if i < len(found.thumbnails) else None,
        "near": [
            {
                "name": short(found.near_names[j]),
                "label": found.near_labels[j],
                "is_other": found.near_labels[j] != found.labels[i],
                "uri": image_uri(found.near_thumbnails[j], "jpeg") if j < len(found.near_thumbnails) else None,
            }
            for j in near
        ],
    }
