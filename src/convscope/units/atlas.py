"""`atlas`: a picture of what each channel of a layer responds to most, made by gradient ascent."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import nn

from ..arguments import checks_arguments
from ..checks import Pair, PresetName, as_count, as_pair
from ..errors import Interrupted, OutputError, ParameterError
from ..models import Layer, Model, as_model
from ..outputs import check_options, replace_file
from ..progress import Progress
from ..results import Array, Atlas
from ..synthesis import Recipe, visualize_each
from ..texts import counted, listed
from .scan_folder import publish, scan_folder


class _Tile(NamedTuple):
    """The picture (H, W, 3) uint8 of a channel, and its score at the start and of the picture."""

    image: Array
    start: float
    score: float


@checks_arguments
def atlas(
    model: Model | nn.Module,
    layer: str,
    *,
    channels: Sequence[Any] | None = None,  # whole numbers from 0, which `_chosen` checks
    output: str | Path | None = None,
    n_batch: int = 8,
    preset: PresetName | Recipe = "natural",
    size_px: int | Pair | None = None,
    n_steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Atlas:
    """A picture for every channel of a layer: what raises the mean of the channel's map, see `visualize`.

    Args:
        model: a `Model` or a module.
        layer: name of the layer.
        channels: their numbers, from 0; by default all.
        output: a folder for the atlas, which `Atlas.load` reads. Every channel's picture is written there once it
            is finished; a run that was killed goes on where it was.
        n_batch: channels that are made at the same time.
        preset: see `visualize`.
        size_px: side of a picture, or (height, width); see `visualize`.
        n_steps: number of ascent steps, by default the preset's.
        seed: seed of all that is random.
        progress: called with (channels done, channels in all).

    Returns:
        `Atlas`. An atlas that is made in several runs is the same as one that is made in one.

    Raises:
        LayerError: no such layer.
        ParameterError: no such channel, or one that is named twice.
        OutputError: the folder holds something else, or an atlas with other options.
        Interrupted: Ctrl-C without an output; its ``result`` has the channels done. An output keeps them.

    Cost: one forward and one backward pass per step, view and channel, up to the layer. Memory for ``n_batch``
    channels, and 3 bytes for each pixel of the result.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> atlas(net, "1", channels=[0, 3], size_px=16, n_steps=2).images.shape
        (2, 16, 16, 3)

    References: Olah, Mordvintsev, Schubert: Feature visualization, Distill 2017. OpenAI Microscope, 2020.
    """
    started = time.perf_counter()
    model = as_model(model)
    size = None if model.preprocessing or size_px is None else as_pair(size_px, "size_px")
    found = model.checked(model.input_shape(size)).find(layer)
    chosen = _chosen(found, channels)
    options: dict[str, Any] = {
        "layer": found.name,
        "preset": asdict(preset) if isinstance(preset, Recipe) else preset,
        "size_px": size_px,
        "n_steps": n_steps,
        "seed": seed,
    }
    tiles: dict[int, _Tile] = {}
    asked: dict[str, Any] = {"preset": preset, "size_px": size_px, "n_steps": n_steps, "seed": seed}
    with scan_folder(Path(output)) if output is not None else nullcontext() as parts:
        if parts is not None:
            network = model.provenance("atlas", {}, started).model["weights_sha256"]
            check_options(
                parts, {"network": network, **options, "n_batch": n_batch, "channels": chosen}, "an atlas"
            )
            tiles = {c: tile for c in chosen if (tile := _kept(parts, c)) is not None}
        try:
            for first in range(0, len(chosen), n_batch):
                # The whole batch, even if some are there: what a channel starts from depends on its place in it.
                batch = chosen[first : first + n_batch]
                if not all(c in tiles for c in batch):
                    for c, one in zip(batch, visualize_each(model, batch, layer=found.name, **asked), strict=True):
                        tiles[c] = _Tile(one.image, float(one.scores[0]), float(one.scores[-1]))
                        if parts is not None:
                            _keep(parts, c, tiles[c])
                if progress:
                    progress(first + len(batch), len(chosen))
        except KeyboardInterrupt as error:
            done = [c for c in chosen if c in tiles]
            if parts is not None or not done:
                raise
            note = f"interrupted after {len(done)} of {len(chosen)} channels"
            raise Interrupted(_result(model, found, done, tiles, options, started, note)) from error
        result = _result(model, found, chosen, tiles, options, started)
        if output is not None:
            publish(result, Path(output))
    return result


def _chosen(layer: Layer, channels: Sequence[int] | None) -> list[int]:
    """The channels asked for, all of them there and each once."""
    if channels is None:
        return list(range(layer.shape[0]))
    chosen = [as_count(channel, "channel") for channel in channels]
    if not chosen or len(set(chosen)) < len(chosen) or max(chosen) >= layer.shape[0]:
        raise ParameterError(
            f"channels={chosen}: expected different ones from 0 to {layer.shape[0] - 1}, as {layer.name} has "
            f"{layer.shape[0]}"
        )
    return chosen


def _file(parts: Path, channel: int) -> Path:
    return parts / f"channel-{channel:05}.png"


def _keep(parts: Path, channel: int, tile: _Tile) -> None:
    """Write a tile: a picture that any program opens, with the scores in its text."""
    about, data = PngInfo(), io.BytesIO()
    about.add_text("start", repr(tile.start))
    about.add_text("score", repr(tile.score))
    Image.fromarray(tile.image).save(data, "png", pnginfo=about)
    replace_file(_file(parts, channel), [data.getvalue()], overwrite=True)


def _kept(parts: Path, channel: int) -> _Tile | None:
    """The tile of a channel if an earlier run wrote it."""
    file = _file(parts, channel)
    if not file.exists():
        return None
    try:
        with Image.open(file, formats=["PNG"]) as picture:
            about = picture.info
            return _Tile(np.asarray(picture.convert("RGB")), float(about["start"]), float(about["score"]))
    except (OSError, ValueError, KeyError, SyntaxError, Image.DecompressionBombError) as error:
        raise OutputError(f"{file}: cannot be read ({error}); remove it, or choose another output") from error


def _result(
    model: Model, layer: Layer, channels: list[int], tiles: dict[int, _Tile], options: dict[str, Any],
    started: float, *notes: str,
) -> Atlas:  # fmt: skip
    flat = [c for c in channels if tiles[c].score <= tiles[c].start]
    if flat:
        notes += (
            f"no step raised the score of {counted(len(flat), 'channel')}: {listed(list(map(str, flat)), 20)}",
        )
    return Atlas(
        layer=layer.name,
        channels=np.array(channels),
        images=np.stack([tiles[c].image for c in channels]),
        scores=np.array([tiles[c].score for c in channels], np.float32),
        n_channels=layer.shape[0],
        provenance=model.provenance("atlas", options, started, notes=notes),
    )
