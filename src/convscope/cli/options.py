"""Options that several commands share, and what becomes of what is typed for them."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from .. import declared
from ..arguments import kind_of
from ..checks import HIGHER_IS_NEARER, Metric, Runner, which_is_nearer
from ..errors import ImageError, StoreError
from .console import Quiet, err
from .phrasing import HELP

RunBy: TypeAlias = Annotated[
    Runner,
    typer.Option("--runner", help="local, or ray: the workers of a Ray cluster, which can open the files."),
]
Address: TypeAlias = Annotated[
    str | None, typer.Option(help="Address of the Ray cluster; by default Ray runs on this machine.")
]
_METRICS = ", ".join(f"{metric} ({which_is_nearer(metric)})" for metric in HIGHER_IS_NEARER)
WhatIsNear: TypeAlias = Annotated[Metric, typer.Option(help=f"What near means: {_METRICS}.")]
Target: TypeAlias = Annotated[str | None, typer.Option(help=HELP["target"].partition(" Give it")[0])]
Seed: TypeAlias = Annotated[int, typer.Option(help="Seed of everything that is left to chance.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="New folder for the result; by default out/COMMAND, then out/COMMAND-2, ...",
        show_default=False,
    ),
]
Film: TypeAlias = Annotated[
    Path | None, typer.Option(help="New film of the frames: .gif, .webp, or .mp4 (with convscope\\[video]).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Images = Annotated[list[Path], typer.Argument(help="Image files or folders.", show_default=False)]
Store: TypeAlias = Annotated[str, typer.Argument(help="A store made by `embed --store`: a folder or an address.")]
Where: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Only rows of the store for which this holds: \"label = 'cat' AND predicted != label\".",
        show_default=False,
    ),
]
Collection: TypeAlias = Annotated[
    str, typer.Argument(help="A store, a folder written by `embed`, or a folder of images.")
]
_NUMBER = r"\s*-?\d+(?:\.\d*)?\s*"
_PLACE = re.compile(
    rf"(?P<name>.+?)\s+at\s+\(?(?P<place>{_NUMBER}(?:,{_NUMBER}|(?:,{_NUMBER}){{3}}))\)?\s*", re.IGNORECASE
)


def parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """A parameter of a command, as typer reads it."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def set_parameters(command: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> None:
    """Say which options a command has that is written to take any."""
    keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    command.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in keywords}


def checked(function: str, **options: Any) -> dict[str, Any]:
    """Options for a function of the library, checked as the function does it, but before torch is imported."""
    parameters = declared.function(function).parameters
    for name, value in options.items():
        kind = kind_of(parameters[name].annotation, name)
        if kind is not None:
            kind.take(value)
    return options


def check_collection(place: str) -> None:
    """`ImageError` for a folder that is not there; an address is looked at later."""
    if "://" not in place and not os.path.lexists(place):
        raise ImageError(f"{place}: no such file or folder")


def check_store(place: str) -> None:
    """`StoreError` for a folder that is not there; what is in it, and what an address has, is seen later."""
    if "://" not in place and not os.path.lexists(place):
        raise StoreError(f"{place}: no store there; `convscope embed photos/ --store {place}` makes one")


def opened_store(place: str, where: str | None) -> Any:
    """A store, or the part of it for which a condition holds, of which it says how large it is."""
    from convscope import EmbeddingStore

    store = EmbeddingStore.open(place)
    if where is None:
        return store
    part = store.where(where)
    about = f"--where: {part.n_vectors} of {store.n_vectors} images; what is found is not kept in the store"
    if not Quiet.is_on:
        err.print(f"note: {about}", highlight=False, soft_wrap=True)
    return part


def chosen_images(paths: list[Path], at_least: int | None = None) -> Any:
    """One path as it is; several as one set, in which an unreadable file is skipped and listed."""
    from convscope.images import load_images

    if len(paths) == 1:
        path = paths[0]
        return preprocessed(path) if path.suffix == ".npy" else load_images(path, at_least=at_least)
    return load_images(paths, on_error="skip", at_least=at_least)


def free_film(place: Path) -> None:
    """Refuse a film that could not be written, before the work for it."""
    from convscope.outputs import check_output
    from convscope.results.films import check_film

    check_film(place)
    check_output(place)


def preprocessed(file: Path) -> Any:
    """The tensor in a NumPy file: images, signals or volumes as the network takes them."""
    import numpy as np
    import torch

    try:
        values = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ImageError(f"{file}: cannot be read as an array of numbers ({error})") from None
    if values.dtype.kind != "f":
        raise ImageError(f"{file}: an array of {values.dtype}; expected floating point, preprocessed (N, C, H, W)")
    return torch.from_numpy(values.astype(np.float32))


def chosen_target(text: str | None) -> Any:
    """What is typed as a target; None for the predicted class.

    An index, (channel, row, column), a label, "A rather than B", a detection, "A at LEFT,TOP,RIGHT,BOTTOM", or
    what is seen at a pixel of a segmentation, "A at ROW,COLUMN".
    """
    if text is not None and (found := _PLACE.fullmatch(text)):
        from convscope.targets import Detection, Region

        sides, name = [float(side) for side in found["place"].split(",")], _class(found["name"])
        if len(sides) == 4:
            return Detection(sides, name)
        if all(side == int(side) >= 0 for side in sides):
            return Region.at((int(sides[0]), int(sides[1])), name)
    if text is not None and len(names := re.split(r"\s+rather than\s+", text, flags=re.IGNORECASE)) == 2:
        from convscope.targets import Contrast

        return Contrast(*map(_class, names))
    if text is None or not re.fullmatch(r"\d+(,\d+,\d+)?", text):
        return text
    numbers = tuple(int(part) for part in text.split(","))
    return numbers[0] if len(numbers) == 1 else numbers


def _class(text: str) -> int | str:
    name = text.strip()
    return int(name) if name.isdigit() else name
