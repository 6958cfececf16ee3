"""Whether a method's map depends on what the network has learned, and on what is asked of it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..arguments import checks_arguments
from ..attribution import ATTRIBUTIONS
from ..errors import ModelError, ParameterError, TargetError
from ..execution import evaluating, hooks
from ..models import Model, as_model
from ..progress import Progress
from ..registry import method_key
from ..results import CHANGED, SAME, Array, Attribution, SanityCheck
from ..targets import find_class

_LABELS = 5  # other classes whose maps are looked at
_CELLS = 7 * 7  # of a smooth map: with fewer, unrelated maps can have a mean correlation above `CHANGED` by chance


@checks_arguments
def sanity_check(
    model: Model | nn.Module,
    image: Any,
    method: str = "saliency",
    *,
    target: int | str | None = None,
    stages: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> SanityCheck:
    """Does the map change when what the network has learned is destroyed, and when another class is asked about?

    A map that stays the same when the weights are replaced by chance shows the image, not the network. A map that
    is the same for every class shows what stands out, not what speaks for the target.

    Weights: the tensors of a stage keep their values, shuffled; so a layer's scale stays, and all that it has
    learned goes. Cascading: stage after stage from the output to the input, all stay random. Independent: each
    stage alone. Labels: the maps of 5 other classes of the same network, chosen by chance; Adebayo's own label
    test trains a network on shuffled labels, which takes the data.

    Maps are compared by Spearman's rank correlation of their absolute values and by the structural similarity
    (SSIM) of the absolute values, from 0 to 1. The size of the correlation decides: where bright and dark have
    changed places, it is still the same picture.

    Args:
        model: a `Model` or a module, for classes.
        image: one image; see `convscope.load_images`.
        method: a key of `convscope.ATTRIBUTIONS`.
        target: class index or label, or nothing for the predicted class. It stays the same all through.
        stages: into how many groups the layers are divided, at most; the first one is the last layer.
        seed: of the shuffling and of the other classes.
        progress: called with (maps done, maps in all).
        options: of the method.

    Returns:
        `SanityCheck`. The verdict passes a method whose map changes: up to a size of the rank correlation of 0.4,
        the mean over the cascade and over the labels. From 0.6 on it fails, and is doubtful between. A note says
        where maps have so few cells that chance alone gives more than 0.4.

    Raises:
        ParameterError: no such method, or several images.
        TargetError: the target is not a class of the network.

    Cost: 2 * stages + 6 maps, and a copy of the network in memory.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        >>> sanity_check(net, torch.randn(1, 1, 8, 8), "grad_cam").stages
        ('3', '0')

    References:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim: Sanity checks for saliency maps, 2018, arXiv 1810.03292.
        Sixt, Granz, Landgraf: When explanations lie, 2019, arXiv 1912.09818 (the maps of other classes).
    """
    started = time.perf_counter()
    model = as_model(model)
    method = method_key(method)
    index, n_classes = _class_asked(model, image, target)
    groups = stages_of(in_order(model, image), stages)
    others = _others(index, n_classes, seed)
    total, done = 1 + 2 * len(groups) + len(others), 0

    def map_of(network: Model, of: int) -> Attribution:
        nonlocal done
        found: Attribution = ATTRIBUTIONS[method](network, image, target=of, **options)
        done += 1
        if progress:
            progress(done, total)
        return found

    original = map_of(model, index)
    twin, learned = copy.deepcopy(model.module), model.module.state_dict()
    random = Model(twin, labels=model.labels, preprocessing=model.preprocessing, name=model.name)
    cascade, alone = [], []
    for group in groups:
        _shuffle(twin, group, seed)
        alone.append(_values(map_of, random, index, original.values[0].shape))
        twin.load_state_dict(learned)
    for group in groups:
        _shuffle(twin, group, seed)
        cascade.append(_values(map_of, random, index, original.values[0].shape))
    labels = [map_of(model, of) for of in others]
    first = original.values[0]
    cascading = np.array([similarity(first, values) for values in cascade])
    by_label = np.array([similarity(first, found.values[0]) for found in labels]).reshape(-1, 2)
    is_flat = bool(np.ptp(np.abs(first)) == 0)
    weights_pass, labels_pass = _judged(cascading[:, 0]), _judged(by_label[:, 0])
    return SanityCheck(
        checked=method,
        stages=tuple(group[0] for group in groups),
        cascading=cascading,
        independent=np.array([similarity(first, values) for values in alone]),
        labels=by_label,
        label_names=tuple(found.targets[0] for found in labels),
        maps=np.stack([first, *cascade]),
        image=original.images[0],
        name=original.names[0],
        target=original.targets[0],
        signed=original.signed,
        passes_weights=weights_pass,
        passes_labels=labels_pass,
        verdict=f"the map of {method} is the same everywhere: there is nothing to check"
        if is_flat
        else _verdict(method, cascading[:, 0], weights_pass, by_label[:, 0], labels_pass),
        provenance=model.provenance(
            "sanity_check",
            {
                **original.provenance.parameters,
                "method": method,
                "target": index,
                "stages": len(groups),
                "seed": seed,
            },
            started,
            notes=(*original.provenance.notes, *_coarse(model, image, original)),
        ),
    )


def _coarse(model: Model, image: Any, original: Attribution) -> list[str]:
    """A note where the map was enlarged from few cells."""
    name = original.provenance.parameters.get("layer")
    layers = model.structure(model.inputs(image).shape).layers
    shape = next((layer.shape for layer in layers if layer.name == name and layer.is_spatial), None)
    if shape is None or shape[1] * shape[2] >= _CELLS:
        return []
    return [
        f"the map has {shape[1]} x {shape[2]} cells: with so few, unrelated maps may correlate by more than "
        f"{CHANGED} on average; try a layer with more"
    ]


def stages_of(names: Sequence[str], n: int) -> list[list[str]]:
    """Layers in the order in which they run, from the last one on, in at most n groups; that one is alone."""
    last, *rest = reversed(names)
    if n == 1:
        return [[last, *rest]]
    parts = np.array_split(rest, min(n - 1, len(rest))) if rest else []
    return [[last], *([str(name) for name in part] for part in parts)]


def in_order(model: Model, image: Any) -> list[str]:
    """The modules that hold weights, in the order in which they begin to run."""
    weighted = {m: name for name, m in model.module.named_modules() if list(m.parameters(recurse=False))}
    ran: dict[str, None] = {}
    with evaluating(model.module), hooks() as attached:
        for module, name in weighted.items():
            attached.append(module.register_forward_pre_hook(lambda *_, name=name: ran.setdefault(name)))
        model.module(next(model.batches(model.inputs(image), size=1)).x.clone())
    if not ran:
        raise ModelError(f"{model.name} has no weights to put at random")
    return list(ran)


def similarity(one: Array, other: Array) -> tuple[float, float]:
    """Spearman's rank correlation and SSIM of the absolute values of two maps; NaN where one is flat."""
    from scipy.stats import spearmanr
    from skimage.metrics import structural_similarity

    a, b = np.abs(one).astype(np.float64), np.abs(other).astype(np.float64)
    if np.ptp(a) == 0 or np.ptp(b) == 0 or not np.isfinite(b).all():
        return float("nan"), float("nan")
    a, b = ((m - m.min()) / np.ptp(m) for m in (a, b))
    window = min(7, *a.shape)
    window -= 1 - window % 2
    alike = structural_similarity(a, b, data_range=1.0, win_size=window) if window >= 3 else 0.0
    return float(spearmanr(a.ravel(), b.ravel()).statistic), float(alike)


def _class_asked(model: Model, image: Any, target: Any) -> tuple[int, int]:
    """The index of the class, and how many there are."""
    prediction = model.predict(image)
    if len(prediction.names) != 1:
        raise ParameterError(f"sanity_check looks at one image; {len(prediction.names)} were given")
    n_classes = prediction.scores.shape[1]
    if target is None:
        return int(prediction.scores[0].argmax()), n_classes
    if isinstance(target, np.integer):
        target = int(target)
    if not isinstance(target, str | int):
        raise TargetError("sanity_check compares classes: give a class index or a label")
    return find_class(target, n_classes, model.labels), n_classes


def _others(index: int, n_classes: int, seed: int) -> list[int]:
    order = np.random.default_rng(seed).permutation(n_classes)
    return [int(i) for i in order if i != index][:_LABELS]


def _shuffle(module: nn.Module, group: Sequence[str], seed: int) -> None:
    """Put each weight tensor of these modules into an order of chance, statistics of batch norms too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in group:
            layer = module.get_submodule(name)
            tensors = (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
            for parameter in (t for t in tensors if t.is_floating_point()):  # not the indices that some keep
                order = torch.randperm(parameter.numel(), generator=generator, device="cpu").to(parameter.device)
                parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))


def _values(
    map_of: Callable[[Model, int], Attribution], network: Model, index: int, shape: tuple[int, ...]
) -> Array:
    """The map of a network put at random; all NaN where its score is none."""
    try:
        values: Array = map_of(network, index).values[0]
        return values
    except ModelError:  # weights of chance may overflow
        return np.full(shape, np.nan, np.float32)


def _judged(correlations: Array) -> bool | None:
    """Whether maps have changed, on average; None where that is doubtful, or most are flat or no maps at all."""
    if np.isfinite(correlations).sum() <= len(correlations) / 2:
        return None
    mean = _mean_size(correlations)
    return True if mean <= CHANGED else False if mean >= SAME else None


def _verdict(
    method: str, by_weights: Array, weights_pass: bool | None, by_label: Array, labels_pass: bool | None
) -> str:
    words = {True: "passes", False: "fails", None: "is doubtful in"}
    parts = [
        f"{method} {words[weights_pass]} the weights check: with more and more layers random the map's rank "
        f"correlation with the original has a size of {_mean_size(by_weights):.2f} on average "
        f"({by_weights[0]:.2f} with the last layer, {by_weights[-1]:.2f} with all)"
    ]
    if len(by_label):
        parts.append(
            f"it {words[labels_pass]} the label check: with the maps of {len(by_label)} other classes that size "
            f"is {_mean_size(by_label):.2f} on average"
        )
    n_flat = int((~np.isfinite([*by_weights, *by_label])).sum())
    return "; ".join([*parts, *([f"left out: {n_flat} flat or missing"] if n_flat else [])])


def _mean_size(values: Array) -> float:
    """The mean of the absolute values, so that opposite signs do not cancel; flat maps are left out."""
    return float(np.nanmean(np.abs(values))) if np.isfinite(values).any() else float("nan")
