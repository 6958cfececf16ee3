"""`suspect_maps`: what the network looked at in images whose labels are doubtful, or that it cannot decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from ..arguments import checks_arguments
from ..checks import shown
from ..embedding import embed
from ..errors import ImageError, ParameterError, StoreError
from ..images import load_images
from ..models import Model, as_model, toward
from ..progress import Progress
from ..results import Array, Attribution, Suspects
from ..store import Origin
from ..store.keys import path_of
from ..store.thumbnails import thumbnail_of
from ..targets import Contrast
from ..targets.classes import by_name
from ..texts import counted, listed
from .quick_maps import maps_of_files, readable

_CHANGED = 8.0  # gray levels on average between two thumbnails; JPEG and another decoder make 1 or 2
_DEVIATION = 0.05  # of a map's sum from the similarity, up to which it divides it; enlarging a map changes its sum


@checks_arguments
def suspect_maps(
    model: Model | nn.Module, found: Suspects, *, limit: int = 24, progress: Progress | None = None
) -> Attribution:
    """Why the network doubts a label: a map of each of the first suspects.

    Red speaks for the suggested label, blue against it. Where the labels of all these images are classes of the
    network, S_c being the score of class c,

        S = S_suggested - S_label

    Elsewhere S is the similarity to the nearest image with the suggested label, by the vectors f that found it:

        S = f(image) . f(nearest) / (|f(image)| |f(nearest)|)

    The method is the first that fits the network: Grad-CAM, with its sign; for classes, input times gradient; or
    occlusion. Of a similarity, Grad-CAM holds |f(image)| constant, so that its map divides S among the places of
    the image; where it does not add up to S, as behind a layer that is more than a mean over places, occlusion is
    taken.

    Args:
        model: the network that made the vectors.
        found: suspects of the kind "label", of which those with another label suggested are explained; or of the
            kind "uncertain", whose maps are for the predicted class, as positive as the method's default is. What
            makes an outlier, its distance from all others, is in no place of the image.
        limit: images to explain, from the first on. Their files are read again, as they are now; a note names
            those that show another picture.
        progress: called with (images done, images in all).

    Returns:
        `Attribution` of the images whose files are there, under their names and in the order of the suspects; its
        notes count those that are left out.

    Raises:
        ParameterError: suspects of the kind "outlier"; no label is doubted; the images came as arrays.
        StoreError: another network, or none, made the vectors.
        ImageError: no file is there any more.

    Cost: a forward and a backward pass an image; for similarities, another forward pass for each of the nearest.
        Occlusion takes some 170 forward passes an image.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from convscope import suspects
        >>> from PIL import Image
        >>> folder = tempfile.TemporaryDirectory()
        >>> for i in range(6):
        ...     image = Image.new("RGB", (8, 8), (0, i * i, 200) if i % 2 else (200, i * i, 0))
        ...     image.save(Path(folder.name) / f"{i}.png")
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        >>> model = Model(net, input_size=(8, 8), mean=[0.5] * 3, std=[0.5] * 3)
        >>> made = replace(embed(model, folder.name), labels=("red", "blue", "red", "blue", "red", "red"))
        >>> suspect_maps(model, suspects(made, k=2)).targets
        ('similarity to 3.png',)
        >>> folder.cleanup()

    References: Selvaraju et al., Grad-CAM, 2016, arXiv:1610.02391. Stylianou, Souvenir and Pless, Visualizing Deep
    Similarity Networks, 2019, arXiv:1901.00536 (a similarity divided among places).
    """
    return maps_of_suspects(as_model(model), found, limit, progress)


def maps_of_suspects(
    model: Model, found: Suspects, limit: int, progress: Progress | None, *, occludes: bool = True
) -> Attribution:
    """The same; unless it ``occludes``, an `ImageError` where a similarity would take many passes an image."""
    layer = _checked_layer(model, found)
    chosen = _chosen(found)[:limit]
    there = [i for i in chosen if readable([found.names[i]])]
    _check_files([found.names[i] for i in chosen], len(there))
    if found.kind == "uncertain":
        made = maps_of_files(model, _files(found, there), progress=progress)
        notes = ["Each map is for the predicted class."]
    elif (targets := _contrasts(model, found, there)) is not None:
        made = maps_of_files(model, _files(found, there), target=targets, with_sign=True, progress=progress)
        notes = ["Positive values speak for the suggested class, negative ones for the label."]
    else:
        there, made = _similarities(model, found, there, layer, progress, occludes)
        notes = ["Positive values are what the image has in common with its nearest of the suggested label."]
    if made is None:
        raise ImageError(f"no map: none of the files of these {counted(len(there), 'suspect')} can be read")
    if n_gone := len(chosen) - len(made.values):
        notes.append(
            f"{n_gone} of {counted(len(chosen), 'suspect')} left out: their file, or that of each near image "
            "with the suggested label, is gone or cannot be read."
        )
    place = {str(file): i for i, file in zip(chosen, _files(found, chosen), strict=True)}
    names = [found.names[place[name]] for name in made.names]
    seen = [at for at, name in enumerate(made.names) if place[name] < len(found.thumbnails)]
    then = found.thumbnails[[place[made.names[at]] for at in seen]]
    notes += _on_changed([names[at] for at in seen], made.images[seen], then)
    about = replace(made.provenance, notes=(*made.provenance.notes, *notes))
    return replace(made, names=tuple(names), provenance=about)


def _on_changed(names: Sequence[str], now: Array, then: Array) -> list[str]:
    """A note on images (n, H, W, 3) that are not what their thumbnails (n, 64, 64, 3) from back then show."""
    if now.ndim != 4 or not then.size:  # volumes, or vectors that were brought along
        return []
    apart = [np.abs(thumbnail_of(a) - b.astype(np.float32)).mean() for a, b in zip(now, then, strict=True)]
    changed = [shown(Path(name).name) for name, levels in zip(names, apart, strict=True) if levels > _CHANGED]
    if not changed:
        return []
    return [
        f"{counted(len(changed), 'file')} changed since the images were embedded, and the maps are of what they "
        f"show now: {listed(changed, 3)}; embed them again."
    ]


def _checked_layer(model: Model, found: Suspects) -> str:
    """The layer whose vectors found the suspects, if this network made them."""
    if found.kind == "outlier":
        raise ParameterError(
            "suspects(kind='outlier'): what makes an outlier is in no place of the image, so there is nothing to "
            "map; expected suspects of the kind 'label' or 'uncertain'"
        )
    layer = found.provenance.parameters.get("layer")
    if not layer:
        raise StoreError("no network is known to have made these vectors, so there is nothing to look into")
    mine, given = found.provenance.model, model.provenance("suspect_maps", {}, 0.0).model
    Origin(mine, layer).check(Origin(given, layer), "the collection of these suspects")
    return str(layer)


def _chosen(found: Suspects) -> list[int]:
    if found.kind == "uncertain":
        return list(range(len(found)))
    doubted = [int(i) for i in np.flatnonzero(found.is_doubted[: len(found.near)])]
    if not doubted:
        raise ParameterError("no label is doubted: no other one is suggested for any of these images")
    return doubted


def _check_files(names: Sequence[str], n_there: int) -> None:
    if n_there:
        return
    if not any(Path(path_of(name)).is_absolute() for name in names):
        raise ParameterError(
            f"{names[0]!r} is no absolute path: maps read the images again, and need suspects of files, as those "
            "of a store that was embedded from a folder"
        )
    raise ImageError(f"none of the files of these {counted(len(names), 'suspect')} is there any more")


def _files(found: Suspects, places: Sequence[int]) -> list[Path]:
    return [Path(path_of(found.names[i])) for i in places]


def _contrasts(model: Model, found: Suspects, places: Sequence[int]) -> list[Contrast] | None:
    """Suggested class rather than label for each image; None unless all of these are classes of the network.

    Labels may be called like classes by chance: the network must have been taken for a witness as well.
    """
    index = by_name(model.labels or ())
    pairs = [
        [index.get(str(one).strip().casefold(), []) for one in (found.suggested[i], found.labels[i])]
        for i in places
    ]
    is_witness = bool(np.isfinite(found.by_network).any())
    if not is_witness or any(len(classes) != 1 for pair in pairs for classes in pair):
        return None
    return [Contrast(suggested[0], label[0]) for suggested, label in pairs]


def _similarities(
    model: Model, found: Suspects, places: list[int], layer: str, progress: Progress | None, occludes: bool
) -> tuple[list[int], Attribution | None]:
    """The places of images with a neighbor of the suggested label whose file is there, and their maps."""
    near = {i: j for i in places if (j := _nearest_suggested(found, i)) is not None}
    nearest = {i: Path(path_of(found.near_names[j])) for i, j in near.items()}
    if not nearest:
        raise ImageError("no file is there of the near images that have the suggested labels, to compare with")
    others = embed(model, load_images(list(dict.fromkeys(nearest.values())), on_error="skip"), layer=layer)
    row = {name: at for at, name in enumerate(others.names)}
    at = {str(nearest[i]): j for i, j in near.items()}
    notes = _on_changed(
        others.names, others.thumbnails, found.near_thumbnails[[at[name] for name in others.names]]
    )
    places = [i for i in nearest if str(nearest[i]) in row]
    if not places:
        return list(nearest), None
    shape = model.inputs(str(nearest[places[0]])).shape
    structure = model.checked(shape)
    names = [Path(name).name for name in others.names]
    similar = toward(model, structure.find(layer), others.vectors, names)
    targets, files = [row[str(nearest[i])] for i in places], _files(found, places)
    slow = ("occlusion",) if occludes else ()
    made = maps_of_files(
        similar, files, target=targets, with_sign=True, methods=("grad_cam", *slow), progress=progress
    )
    if made is not None and made.provenance.method == "grad_cam":
        n_places = math.prod(structure.find(made.provenance.parameters["layer"]).shape[1:])
        sums = made.values.mean(axis=(1, 2), dtype=np.float64) * n_places
        if not np.allclose(sums, made.scores, rtol=_DEVIATION, atol=1e-3):
            made = maps_of_files(similar, files, target=targets, methods=slow, progress=progress)
    if made is None:
        return places, None
    unit = made.unit.replace("unit of the output", "similarity")
    parameters = {**made.provenance.parameters, "target": made.targets}
    del parameters["score"]  # which is of classes
    about = replace(made.provenance, parameters=parameters, notes=(*made.provenance.notes, *notes))
    return places, replace(made, unit=unit, provenance=about)


def _nearest_suggested(found: Suspects, i: int) -> int | None:
    """The nearest image with the suggested label, as in ``near``, among those whose files are there."""
    same = (int(j) for j in found.near[i] if found.near_labels[j] == found.suggested[i])
    return next((j for j in same if readable([found.near_names[j]])), None)
