"""What the template shows of faults: doubtful labels, with what speaks against them, and groups of duplicates."""

from __future__ import annotations

from typing import Any

from ..render import image_uri
from ..results import Duplicates, Suspects
from .wording import caption, short

View = dict[str, Any]

NEAR = 5  # of the nearest images of each suspect
COPIES = 6  # of each group of duplicates


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
        "reason": found.reasons[i],
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


def duplicate_views(found: Duplicates, limit: int) -> View:
    """The largest groups, at most ``limit``, the image to keep first in each, and how many groups there are."""
    groups = list(zip(found.starts.tolist(), found.sizes.tolist(), strict=True))
    return {
        "duplicates": [_group(found, at, n) for at, n in groups[:limit]],
        "n_groups": len(groups),
        "duplicates_caption": caption(found),
    }


def _group(found: Duplicates, at: int, n: int) -> View:
    shown = range(at, at + min(n, COPIES))
    labels = set(found.labels[at : at + n]) - {None}
    return {
        "images": [
            {
                "name": short(found.names[i]),
                "label": found.labels[i],
                "uri": image_uri(found.thumbnails[i], "jpeg") if i < len(found.thumbnails) else None,
            }
            for i in shown
        ],
        "n_more": n - len(shown),
        "is_copy": len({int(i) for i in found.content[at : at + n]}) == 1,
        "has_labels": len(labels) > 1,
    }
