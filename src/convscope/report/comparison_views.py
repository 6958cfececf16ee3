"""What the template shows of two stores: the numbers, who changed, and what the classes say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..results import StoreComparison
from .fault_views import thumbnail_uri
from .wording import number, share

View = dict[str, Any]

TILES = 6  # of the neighbors of a changed image in each list
CONFUSIONS = 60


def summary_view(found: StoreComparison) -> View:
    """The comparison as a whole, in words and numbers."""
    k, n = found.neighbors_a.shape[1], len(found.names)
    mean = float(found.shared.mean())
    view: View = {
        "n_images": f"{n:,}",
        "n_compared": "" if len(found.queries) == n else f"{len(found.queries):,}",
        "encoders": list(zip("AB", found.encoders, strict=True)),
        "k": k,
        "n_tiles": min(k, TILES),
        "n_same": number(mean * k, ".1f"),
        "n_by_chance": number(found.chance * k, ".1f"),
        "same": share(mean, ".0%"),
        "chance": found.chance,
        "by_chance": _percent(found.chance),
        "cka": number(found.cka, ".2f"),
        "cka_unbiased": number(found.cka_unbiased, ".2f"),
        "disparity": number(found.disparity, ".2f"),
        "right": [],
    }
    if found.classes:
        view["right"] = [_percent(one) for one in found.accuracies]
    return view


def _percent(value: float, spec: str = ".1%") -> str:
    """A share; a dash where there is none, as of images without labels."""
    return share(value, spec).replace("100.0%", "100%") if math.isfinite(value) else number(value)


def changed_views(found: StoreComparison, names: Sequence[str]) -> list[View]:
    """The images whose neighbors changed most, with the nearest in either list."""
    k = found.neighbors_a.shape[1]
    lists = (found.neighbors_a, found.neighbors_b)
    views = []
    for q in found.changed.tolist():
        image = int(found.queries[q])
        own = found.labels[image]
        both = set(lists[0][q].tolist()) & set(lists[1][q].tolist())
        sides = []
        for side, letter in enumerate("AB"):
            voted = found.classes[found.voted[side, q]] if found.voted[side, q] >= 0 else ""
            tiles = [_tile(found, names, i, own, i in both) for i in lists[side][q, :TILES].tolist()]
            is_wrong = own is not None and voted != own
            sides.append({"letter": letter, "voted": voted, "is_wrong": is_wrong, "tiles": tiles})
        views.append(
            {
                "place": image,
                "uri": _uri(found, image),
                "name": names[image],
                "label": own or "",
                "note": f"{len(both)} of its {k} neighbors are in both" if len(both) else "no neighbor is in both",
                "sides": sides,
            }
        )
    return views


def _tile(found: StoreComparison, names: Sequence[str], image: int, own: str | None, is_both: bool) -> View:
    """A neighbor, with its label where it is another one."""
    label = found.labels[image]
    return {
        "uri": _uri(found, image),
        "name": names[image],
        "is_both": is_both,
        "other": label if None not in (label, own) and label != own else "",
    }


def _uri(found: StoreComparison, image: int) -> str | None:
    """The thumbnail of an image that is shown."""
    return thumbnail_uri(found.thumbnails, int(np.searchsorted(found.shown, image)))


def class_views(found: StoreComparison) -> list[View]:
    """The classes, those first that share the fewest neighbors."""
    shares = found.class_shared
    counts = np.bincount(found.codes[found.queries] + 1, minlength=len(found.classes) + 1)[1:]
    order = [int(c) for c in np.argsort(shares, kind="stable") if np.isfinite(shares[c])]
    tables = found.confusions
    return [
        {
            "name": found.classes[c],
            "count": int(counts[c]),
            "share": float(shares[c]),
            "text": share(float(shares[c]), ".0%"),
            "right": [_percent(float(table[c, c] / counts[c]), ".0%") for table in tables],
        }
        for c in order
    ]


def confusion_views(found: StoreComparison) -> View:
    """The pairs of classes that one confuses more often, and how many there are."""
    changes = found.confusion_changes
    rows = [
        {"true": one.true, "voted": one.voted, "n": (one.n_a, one.n_b), "more": "AB"[one.n_b > one.n_a]}
        for one in changes[:CONFUSIONS]
    ]
    return {"rows": rows, "n": len(changes)}
