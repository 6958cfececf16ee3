"""A page of what may be wrong in a collection: suspects with their neighbors, or groups of near copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..outputs import check_output, replace_file
from ..render.suspect_figures import SUSPECT_TITLES, what_maps_show
from ..results import Attribution, Duplicates, Suspects
from ..results.collection_faults import groups_in_words, has_other_label, size_of
from .collection_view import chunks
from .fault_views import over_photo, thumbnail_uri
from .short_paths import without_common_folder
from .templates import REPORT_SCRIPT, template, with_script
from .wording import caption, number

View = dict[str, Any]
ROWS, TILES = 200, 6

_SCORES = {"label": "Doubt", "outlier": "Distance", "uncertain": "Uncertainty"}
_LEADS = {
    "label": "Each image with its label and, in blue, the label that the evidence favors. Small: the images that "
    "the network finds most alike, and how alike (1: equal); an orange frame means another label than the "
    "image's. A doubt of 1 means that nothing speaks for the label.",
    "outlier": "Each image with its mean distance to its nearest, which are the small ones. An image that lies "
    "apart may not belong here, or be the only one of its kind, which is then worth keeping.",
    "uncertain": "Each image and what the network takes it for. Small: the images that it finds most alike.",
}


def fault_page(found: Suspects | Duplicates, output: Path, maps: Attribution | None = None) -> Path:
    """Write one self-contained HTML file, with names relative to the folder that all images share.

    ``maps`` are those of `convscope.suspect_maps`, which are laid over their images.

    Raises:
        OutputError: the output cannot be written.
    """
    check_output(output)
    view = _of_suspects(found, maps) if isinstance(found, Suspects) else _of_duplicates(found)
    view |= {
        "caption": [*caption(found), *(caption(maps) if maps is not None else ())],
        **({"script": ""} if maps is None else with_script(REPORT_SCRIPT)),
    }
    replace_file(output, [template("fault_page.html.jinja").render(**view, chunks=chunks)])
    return output


def _of_suspects(found: Suspects, maps: Attribution | None) -> View:
    shown, is_doubted = np.arange(len(found.near)), found.is_doubted
    if found.kind == "label":  # images with little for any label stand between those with more for another one
        shown = shown[is_doubted[: len(shown)]]
    names = without_common_folder([*found.names, *found.near_names])
    near_names = names[len(found.names) :]
    rows, reasons = [], found.reasons
    over = over_photo(maps)
    for i in shown[:ROWS].tolist():
        tiles = [
            {
                "uri": thumbnail_uri(found.near_thumbnails, j),
                "name": found.near_labels[j] or near_names[j],
                "note": number(float(found.similarity[i, place]), ".2f"),
                "alt": near_names[j],
                "is_wrong": has_other_label(found, i, j),
            }
            for place, j in enumerate(found.near[i, :TILES].tolist())
        ]
        rows.append(
            {
                "uri": thumbnail_uri(found.thumbnails, i),
                "name": names[i],
                "label": found.labels[i] or "",
                "other": found.suggested[i] if is_doubted[i] else "",
                "note": f"{_SCORES[found.kind]} {number(float(found.scores[i]), '.2f')}. {reasons[i]}",
                "tiles": tiles,
                **over(found.names[i]),
            }
        )
    if found.kind == "label":
        count = f"{found.n_doubted} of {len(found)} images have another label suggested; {len(rows)} are shown."
    else:
        count = f"The first {len(rows)} of {len(found)} images are shown."
    return {
        "title": SUSPECT_TITLES[found.kind],
        "lead": _LEADS[found.kind] + ("" if maps is None else f" {_on_maps(found, maps)}"),
        "count": count,
        "rows": rows,
        "is_wide": True,
    }


def _on_maps(found: Suspects, maps: Attribution) -> str:
    shown = what_maps_show(maps, found.kind)
    return f"The colors over an image show {shown}; the slider goes from the photo to the map."


def _of_duplicates(found: Duplicates) -> View:
    names = without_common_folder(found.names)
    rows = []
    starts, sizes = found.starts.tolist(), found.sizes.tolist()
    for start, size in list(zip(starts, sizes, strict=True))[:ROWS]:
        tiles = [
            {
                "uri": thumbnail_uri(found.thumbnails, at),
                "name": names[at],
                "note": "the same file" if found.content[at] == found.content[start] else size_of(found, at),
                "alt": names[at],
                "is_wrong": False,
            }
            for at in range(start + 1, min(start + 1 + TILES, start + size))
        ]
        left_out = size - 1 - len(tiles)
        notes = ["Keep this one", size_of(found, start), f"{left_out} more are not shown" if left_out else ""]
        rows.append(
            {
                "uri": thumbnail_uri(found.thumbnails, start),
                "name": names[start],
                "label": found.labels[start] or "",
                "other": "",
                "note": "".join(f"{note}. " for note in notes if note).rstrip(),
                "tiles": tiles,
                "maps": (),
            }
        )
    return {
        "title": "Images that are nearly the same",
        "lead": "First the image to keep: the one with the most pixels or, if those are equal, the least "
        "compressed. The others could go. The network cannot tell what matters to you: look before you delete.",
        "count": f"{groups_in_words(found)}.{f' The first {ROWS} groups are shown.' if len(sizes) > ROWS else ''}",
        "rows": rows,
        "is_wide": False,
    }
