"""`scan`: what each channel of some layers responds to in a collection of images."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..arguments import checks_arguments
from ..checks import Runner, check_address
from ..errors import ImageError, Interrupted, LayerError, ParameterError
from ..models import Layer, Model, as_model
from ..progress import Progress
from ..results import UnitScan
from ..texts import counted
from .channel_readings import n_places
from .channel_statistics import LEVELS, statistics
from .scan_folder import publish, scan_folder
from .scan_state import ScanState
from .scan_turns import Work, fill
from .scanned_images import ScannedImages

_STAGES = 4  # layers by default, at most


@checks_arguments
def scan(
    model: Model | nn.Module,
    images: Any,
    *,
    layers: str | Sequence[str] | None = None,
    k: int = 40,
    labels: Sequence[str | None] | None = None,
    output: str | Path | None = None,
    runner: Runner = "local",
    address: str | None = None,
    progress: Progress | None = None,
) -> UnitScan:
    """What every channel of some layers responds to, in images of your own.

    Each image goes through the network once. Of each channel and image the scan keeps the peak, which is the
    highest value over all places of the map, where it is, the mean, and how many places are not above zero.
    Everything else is computed exactly from these: the images with the highest, middle and lowest peaks,
    quantiles, and how well the peak tells each label from the others. Only the covariances are from a sample: of
    at most 64 places an image.

    Args:
        model: a `Model` or a module.
        images: a folder, files, or what `convscope.load_images` takes; a preprocessed tensor (N, C, H, W), signals
            or volumes; or an `EmbeddingStore`, whose files are read again and whose labels are used.
        layers: one or several names from `Model.layers`: maps, tokens or vectors. By default the last map at
            each of the last four resolutions; of tokens, four layers evenly spaced.
        k: how many of the highest, middle and lowest images are kept for each channel.
        labels: one for each image, or None for an image without; by default those that the images bring.
        output: a folder for the scan, which `UnitScan.load` reads. What was computed is written every few seconds,
            and a run that was killed goes on where it was; so does one with further images.
        runner: "ray" has the workers of a Ray cluster run the network, with the same result; they must be able to
            read the files. Needs ``convscope[ray]``.
        address: of the cluster; by default Ray is started on this machine.
        progress: called with (images done, images in all).

    Returns:
        A `UnitScan` of the N images that could be read; its provenance lists the others.

    Raises:
        LayerError: there is no such layer.
        ImageError: an image that was named itself, not found in a folder, cannot be read; or none can.
        OutputError: the folder holds something else, or a scan of another network or of other layers.
        ParameterError: Ray and a network that is not on the CPU, where its workers compute.
        Interrupted: Ctrl-C without an output; its ``result`` is the scan of the images done. An output keeps them.

    Cost: one forward pass an image, up to the deepest layer. Memory for a few batches, whatever the number of
    images; on disk, in ``output`` or the folder for temporary files, 16 bytes for each channel and image, and 8
    more while the result is made. With N images and C channels the result has N * C values on disk.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> found = scan(net, torch.randn(6, 3, 8, 8), layers="1", labels=["cat", "dog"] * 3)
        >>> found.auroc("1").shape, len(found.top("1", 0, k=5))
        ((4, 2), 5)

    References: the images that excite a unit most: Zeiler and Fergus 2014, arXiv 1311.2901. AUROC from ranks: Mann
    and Whitney 1947. At most 3 / n for what never happened in n trials: Hanley and Lippman-Hand 1983.
    """
    started = time.perf_counter()
    check_address(address, runner)
    model, images = as_model(model).bound(images)
    if runner == "ray" and model.device.type != "cpu":
        raise ParameterError(
            f"runner='ray' computes on processors, and {model.name} is on {model.device}; move it"
        )
    given = ScannedImages(model, images, labels)
    chosen = chosen_layers(model, given.shape, layers)
    about = _about(model, given, chosen, started)
    with _state_in(output, about, [layer.name for layer in chosen]) as (state, folder):
        keys = given.keys()
        stamps = list(given.stamps()) if output is not None else [""] * len(keys)
        seen = state.images
        todo = [i for i, key in enumerate(keys) if key not in seen or seen[key].stamp != stamps[i]]
        try:
            work = Work(model, given, chosen, keys, stamps)
            fill(state, work, todo, runner=runner, address=address, progress=progress)
        except KeyboardInterrupt as error:
            if output is None and state.n_rows:
                note = f"interrupted after {state.n_rows} of {len(given)} images"
                found = _result(state, folder, model, given, chosen, keys, k, started, note)
                raise Interrupted(found) from error
            raise
        found = _result(state, folder, model, given, chosen, keys, k, started)
        if output is not None:
            publish(found, Path(output))
    return found


def chosen_layers(model: Model, shape: tuple[int, ...], layers: str | Sequence[str] | None) -> list[Layer]:
    """The layers of these names, or those of the default, in running order as far as it is known."""
    structure = model.checked(shape)
    if layers is not None:
        names = [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
        if not names:
            raise LayerError("no layer was named: give one name, several, or None for one of each resolution")
        return [structure.find(name) for name in names]
    return list(structure.stages[-_STAGES:] or (model.feature_layer(shape),))


def _about(model: Model, given: ScannedImages, layers: list[Layer], started: float) -> dict[str, Any]:
    """What two runs into one folder have to agree in."""
    origin = model.provenance("scan", {}, started).model
    return {
        "network": origin["weights_sha256"],
        "preprocessing": origin["preprocessing"],
        "layers": [layer.name for layer in layers],
        "size of the images": given.shape,
    }


@contextmanager
def _state_in(
    output: str | Path | None, about: Mapping[str, Any], layers: Sequence[str]
) -> Iterator[tuple[ScanState, Path]]:
    """The state in the folder of an output, or in a temporary one."""
    if output is not None:
        with scan_folder(Path(output)) as folder:
            yield ScanState(folder, about, layers), folder
        return
    with tempfile.TemporaryDirectory(prefix="convscope-scan-") as name:
        yield ScanState(Path(name), about, layers), Path(name)


def _result(
    state: ScanState,
    folder: Path,
    model: Model,
    given: ScannedImages,
    layers: list[Layer],
    keys: list[str],
    k: int,
    started: float,
    *notes: str,
) -> UnitScan:
    """The scan of those of the given images that are in the state, in their order."""
    seen = [state.images.get(key) for key in keys]
    used = [(i, one.row) for i, one in enumerate(seen) if one is not None and one.row >= 0]
    errors = [one.error for one in seen if one is not None and one.error]
    if not used:
        raise ImageError(f"none of the {len(given)} images could be read; the first: {errors[0]}")
    image_labels = tuple(given.labels[i] for i, _ in used)
    labels = tuple(sorted({label for label in image_labels if label is not None}))
    number = {label: i for i, label in enumerate(labels)}
    codes = np.array([-1 if label is None else number[label] for label in image_labels])
    rows = np.array([row for _, row in used])
    tables: dict[str, dict[str, Any]] = {}
    for layer in layers:
        found = statistics(state, folder, layer.name, rows, codes, len(labels), n_places(layer), k)
        found["sides"] = np.array(layer.shape[1:], np.int64)
        found["pixels"] = np.array(layer.pixels, np.float64).reshape(-1, 3)
        for name, values in found.items():
            tables.setdefault(name, {})[layer.name] = values
    names = tuple(layer.name for layer in layers)
    if n_others := state.n_rows - len(used):
        notes += (
            f"correlations also count {counted(n_others, 'image')} of earlier runs, removed or changed since: for "
            "duplicates and nearest channels of these images alone, scan into a new output",
        )
    return UnitScan(
        names=tuple(given.names[i] for i, _ in used),
        labels=labels,
        image_labels=image_labels,
        layers=names,
        input_shape=tuple(given.shape),
        levels=LEVELS,
        provenance=model.provenance(
            "scan",
            {"layers": names, "k": k},
            started,
            notes=(*given.notes, *notes, _bound(len(used))),
            skipped=[*given.unreadable, *errors],
        ),
        **tables,
    )


def _bound(n: int) -> str:
    share = f"{min(1.0, 3 / n):.2%} of images like these"
    return (
        f"a channel that is above zero in none of {n} images is so in at most {share} (3 / n, at 95 % confidence)"
    )
