"""The loop of `scan`: a turn of images through the network, and what was read of them into the state."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from ..checks import Runner
from ..embedding.distributed import on_ray
from ..errors import ImageError
from ..execution import evaluating, folded_batch_norm, read_at
from ..models import Layer, Model
from ..progress import Progress
from ..results import Array
from .channel_readings import Moments, Reading, read_layer
from .scan_state import COLUMNS, Rows, ScanState
from .scanned_images import ScannedImages

_TURN, _TURN_ELSEWHERE = 64, 512  # images between two moments at which a run can go on; elsewhere than on a CPU
_NOT_FINITE = "the network gives NaN or infinite values"
_TYPES = {"peaks": np.float32, "places": np.int32, "means": np.float32, "silent": np.int32}


@dataclass(frozen=True)
class Work:
    """The images of a scan, by what each is known and whether it has changed, and the layers to read."""

    model: Model
    given: ScannedImages
    layers: list[Layer]
    keys: list[str]
    stamps: list[str]


class Turn(NamedTuple):
    """What was read of some images, and the sums over these alone."""

    rows: Rows
    moments: dict[str, Moments]


@dataclass(frozen=True)
class _Elsewhere:
    """Work that is sent to another process; ``moments`` say what sums are relative to."""

    work: Work
    moments: dict[str, Moments]

    def __call__(self, numbers: Sequence[int]) -> Turn:
        with evaluating(self.work.model.module), _folded(self.work):
            return _turn(self.work, numbers, self.moments)


def fill(
    state: ScanState,
    work: Work,
    todo: Sequence[int],
    *,
    runner: Runner,
    address: str | None,
    progress: Progress | None,
) -> None:
    """Run the network on the images to do, a turn at a time.

    Batches begin anew in each turn, so that a run that goes on has the same batches as one that was never stopped,
    and thereby the same values.
    """
    n_done = len(work.given) - len(todo)
    try:
        with closing(_turns(state, work, todo, runner, address)) as turns:
            for n, turn in turns:
                sums = {name: moments.plus(turn.moments[name]) for name, moments in state.moments.items()}
                state.add(turn.rows, sums)
                n_done += n
                if progress:
                    progress(n_done, len(work.given))
    finally:
        state.write()  # also on Ctrl-C


def _turns(
    state: ScanState, work: Work, todo: Sequence[int], runner: Runner, address: str | None
) -> Generator[tuple[int, Turn]]:
    """Turn after turn, with the number of images. By Ray, all after the first one that sums are relative to."""
    size = _TURN if work.model.device.type == "cpu" else _TURN_ELSEWHERE
    first = 0
    with evaluating(work.model.module), _folded(work):
        while first < len(todo) and (runner == "local" or not all(state.moments.values())):
            numbers = todo[first : first + size]
            yield len(numbers), _turn(work, numbers, state.moments)
            first += size
    relative_to = {name: moments.relative() for name, moments in state.moments.items()}
    yield from on_ray(_Elsewhere(work, relative_to), todo[first:], size, address)


def _folded(work: Work) -> AbstractContextManager[Any]:
    """Batch norms folded into the convolutions before them, unless a layer that is read lies between."""
    model = work.model
    if model.dtype not in (torch.float32, torch.float64):  # the rounding of coarser weights would show
        return nullcontext()
    example = model.preparation(work.given.shape)(model.checked(work.given.shape).example)
    return folded_batch_norm(model.module, lambda: _readings(work, example.clone()))


def _readings(work: Work, x: torch.Tensor) -> dict[str, Reading]:
    """What the layers give for a batch."""
    by_name = {layer.name: layer for layer in work.layers}
    return read_at(work.model.module, x, list(by_name), lambda name, tensor, _: read_layer(tensor, by_name[name]))


def _read(work: Work, numbers: Sequence[int]) -> tuple[list[int], dict[str, Reading], dict[int, str]]:
    """Which of these images could be read, what the layers give for them, and why the others could not."""
    read, readings = list[int](), list[dict[str, Reading]]()
    inputs = work.given.inputs(numbers)
    try:
        for batch in work.model.batches(inputs):
            readings.append(_readings(work, batch.x))
            read += [numbers[i] for i in batch.positions]
    except ImageError:  # also where none of these can be read
        if not work.given.skips_errors:
            raise
    seen = set(read)
    unread = [number for number in numbers if number not in seen]
    errors = dict(zip(unread, inputs.skipped[len(work.given.unreadable) :], strict=True))
    if not readings:
        return [], {}, errors
    joined = {
        name: Reading(*map(torch.cat, zip(*(reading[name] for reading in readings), strict=True)))
        for name in readings[0]
    }
    return read, joined, errors


def _turn(work: Work, numbers: Sequence[int], before: Mapping[str, Moments]) -> Turn:
    """Read some images, but for those for which the network gives NaN or infinite values."""
    read, found, errors = _read(work, numbers)
    good = np.ones(len(read), bool)
    for reading in found.values():
        good &= (reading.peaks + reading.means).isfinite().all(dim=1).cpu().numpy()
    errors = errors | {
        n: f"{work.given.names[n]}: {_NOT_FINITE}" for n, is_good in zip(read, good, strict=True) if not is_good
    }
    moments, values = dict.fromkeys(before, Moments()), dict[tuple[str, str], Array]()
    for layer in work.layers:
        for column in COLUMNS:
            table = np.empty((0, layer.shape[0]))
            if found:
                table = getattr(found[layer.name], column).cpu().numpy()[good]
            values[column, layer.name] = table.astype(_TYPES[column])
        if good.any():
            samples = found[layer.name].samples
            kept = samples[torch.from_numpy(good).to(samples.device)].flatten(0, 1)
            moments[layer.name] = before[layer.name].of(kept)
    ordered = [n for n in numbers if n not in errors] + list(errors)
    keys, stamps = [work.keys[n] for n in ordered], [work.stamps[n] for n in ordered]
    return Turn(Rows(keys, stamps, [errors.get(n, "") for n in ordered], values), moments)
