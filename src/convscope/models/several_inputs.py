"""Networks with several inputs: which of them a call looks at, and what the others are held at."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ..checks import shown
from ..errors import ParameterError
from ..results import Array
from .preprocessing import Preprocessing, shown_pixels

_VALUES = "tensors, each with one row, or with one for each image"


def are_tensors(images: Any) -> bool:
    """Whether these are the values of several inputs: a dict, or a tuple or list of tensors."""
    if isinstance(images, Mapping):
        return True
    is_list = isinstance(images, list | tuple) and len(images) > 0
    return is_list and all(isinstance(value, torch.Tensor) for value in images)


@dataclass(frozen=True)
class SeveralInputs:
    """The inputs of a network that takes several: ``values`` by name, in the order in which it takes them.

    ``by_name``: whether they are passed as keywords. Values have one row, which holds for every image, or one for
    each. ``forward`` runs the network on them, where it is not simply called.
    """

    values: Mapping[str, torch.Tensor]
    by_name: bool
    forward: Callable[[nn.Module, Any], Any] | None = None

    @classmethod
    def of(cls, network: nn.Module, inputs: Any, forward: Callable[[nn.Module, Any], Any] | None) -> SeveralInputs:
        """The inputs as the caller of `Model` gives them: a dict by name, or a tuple or list in order."""
        if not are_tensors(inputs):
            raise ParameterError(f"inputs={shown(inputs)}: expected a dict or a tuple of {_VALUES}")
        by_name, known = isinstance(inputs, Mapping), _parameters_of(network)
        if by_name:
            values = {str(name): value for name, value in inputs.items()}
            odd = [name for name in values if forward is None and known is not None and name not in known]
            if odd:
                raise ParameterError(
                    f"inputs: {type(network).__name__} takes no {odd[0]!r}, but {', '.join(known or ())}"
                )
        else:
            places = enumerate(inputs)
            values = {known[i] if known and i < len(known) else f"input {i}": value for i, value in places}
        found = cls(values, by_name, forward)
        found._check(values)
        found = replace(found, values={name: value.detach().clone() for name, value in values.items()})
        if not any(value.is_floating_point() for value in values.values()):
            raise ParameterError("inputs: none is floating-point, so there is nothing to explain")
        return found

    @property
    def main(self) -> str:
        """The input that a single tensor is given to: the first image, else the first that is floating-point."""
        floating = [name for name, value in self.values.items() if value.is_floating_point()]
        images = [name for name in floating if self.values[name].ndim >= 4]
        return next(iter(images or [name for name in floating if self.values[name].ndim == 3] or floating))

    @property
    def n_rows(self) -> int:
        """Images for which there are values; 1 if they hold for every image. The main input does not count."""
        return max((len(value) for name, value in self.values.items() if name != self.main), default=1)

    def named(self, given: Any) -> dict[str, torch.Tensor]:
        """The values of a call by name; `ParameterError` if they do not fit."""
        names = list(self.values)
        if not isinstance(given, Mapping):
            if len(given) > len(names):
                raise ParameterError(f"{len(given)} inputs for a network of {len(names)} ({', '.join(names)})")
            given = dict(zip(names, given, strict=False))
        odd = [name for name in given if name not in self.values]
        if odd or not given:
            raise ParameterError(f"inputs {shown(list(given))}: expected some of {', '.join(names)}")
        values = {name: given[name] for name in names if name in given}
        self._check(values)
        for name, value in values.items():
            if value.ndim != self.values[name].ndim:
                like = tuple(self.values[name].shape[1:])
                raise ParameterError(f"{name}: a tensor of shape {tuple(value.shape)}; expected (N, *{like})")
        return values

    def _check(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if not isinstance(value, torch.Tensor) or not value.ndim or not len(value):
                what = tuple(value.shape) if isinstance(value, torch.Tensor) else shown(value)
                raise ParameterError(f"{name}={what}: expected {_VALUES}")
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise ParameterError(f"{name} holds NaN or infinite values")
        rows = {name: len(value) for name, value in values.items() if len(value) > 1}
        if len(set(rows.values())) > 1:
            each = ", ".join(f"{name} {n}" for name, n in rows.items())
            raise ParameterError(f"inputs of different numbers of rows ({each}): expected {_VALUES}")

    def held(self, values: Mapping[str, torch.Tensor], row: int = 0) -> SeveralInputs:
        """The same with these values in place of its own, of all of them this row."""
        return replace(self, values=_row({**self.values, **values}, row))

    def bound(self, images: Any, *, jointly: bool) -> tuple[SeveralInputs, tuple[str, ...], torch.Tensor]:
        """For one row of several inputs: all values, the names of those to explain, and these as one tensor.

        Explained are all that are floating-point, if ``jointly``, or else the first image among them.
        """
        given = self.named(images)
        several = self.held(given)
        names = tuple(name for name, value in given.items() if value.is_floating_point())
        if not jointly:
            names = tuple(name for name in names if several.packing([name]) is None)[:1]
        if not names:
            what = "none is floating-point" if jointly else "this function looks at images, and none is one"
            raise ParameterError(f"inputs {', '.join(given)}: {what}")
        if any(len(value) > 1 for value in given.values()):
            raise ParameterError("this function takes one row of several inputs at a time: call it for each")
        packing = several.packing(names)
        values = {name: given[name].detach() for name in names}
        return several, names, values[names[0]] if packing is None else packing.pack(values)

    def together(self, images: Any) -> tuple[SeveralInputs, tuple[str, ...], torch.Tensor]:
        """For rows of several inputs: all values, the names of those given or held row by row, as one tensor."""
        given = self.named(images) if are_tensors(images) else {self.main: images}
        values = {**self.values, **given}
        self._check(values)
        n = max(map(len, values.values()))
        each = [name for name, value in values.items() if name in given or len(value) > 1]
        if odd := [name for name in each if not values[name].is_floating_point() and len(values[name]) > 1]:
            kind = values[odd[0]].dtype
            raise ParameterError(f"{odd[0]}: rows of {kind} cannot differ here; call it for each row")
        names = tuple(name for name in each if values[name].is_floating_point())
        if not names:
            raise ParameterError(f"inputs {', '.join(given)}: none is floating-point")
        several = self.held(values)
        rows = {name: values[name].detach().expand(n, *values[name].shape[1:]) for name in names}
        packing = several.packing(names)
        return several, names, rows[names[0]] if packing is None else packing.pack(rows)

    def row_by_row(self, images: Any) -> list[tuple[SeveralInputs, Any]] | None:
        """What is held, and the inputs, for each image of a call in which they differ; None if they do not."""
        given = self.named(images) if are_tensors(images) else None
        n_given = max(map(len, given.values())) if given else self.n_rows
        if max(self.n_rows, n_given) == 1:
            return None
        if given is None and not (isinstance(images, torch.Tensor) and len(images) == self.n_rows):
            found = f"{len(images)} images" if isinstance(images, torch.Tensor) else "images that are no tensor"
            raise ParameterError(f"{found} for inputs held at {self.n_rows} rows: expected a tensor of as many")
        if self.n_rows > 1 and n_given != self.n_rows:
            raise ParameterError(f"{n_given} rows for inputs held at {self.n_rows} rows: expected as many")
        values = images if given is None else given
        return [(self.held({}, i), _row(values, i)) for i in range(n_given)]

    def packing(self, names: Sequence[str]) -> Packing | None:
        """How these inputs lie in one tensor; None for a single image, which is that tensor itself."""
        is_image = len(names) == 1 and self.values[names[0]].ndim >= 4
        return None if is_image else Packing({name: tuple(self.values[name].shape[1:]) for name in names})

    def shape(self, names: Sequence[str]) -> tuple[int, ...]:
        """Of a row of the one tensor that holds these inputs."""
        packing = self.packing(names)
        return tuple(self.values[names[0]].shape[1:]) if packing is None else (1, 1, sum(packing.sizes))

    def calling(self, names: tuple[str, ...]) -> Callable[[nn.Module, torch.Tensor], Any]:
        """A function that runs the network on a tensor that holds these inputs, with the others held."""
        others = {n: v.detach().clone() for n, v in self.values.items() if n not in names}
        return _Call(tuple(self.values), others, names[0], self.packing(names), self.by_name, self.forward)


def _row(values: Any, i: int) -> Any:
    if isinstance(values, torch.Tensor):
        return values[i : i + 1] if len(values) > 1 else values
    return {name: _row(value, i) for name, value in values.items()}


@dataclass(frozen=True)
class Packing:
    """Several inputs in one tensor (N, 1, 1, D), their values one after another.

    So a method works on all of them as on one image: a gradient, a step on a path or noise is one for all.
    ``shapes`` are those of a row of each input.
    """

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def sizes(self) -> list[int]:
        """How many values a row of each input has."""
        return [torch.Size(shape).numel() for shape in self.shapes.values()]

    def pack(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Inputs (..., *shape) as one tensor (..., 1, 1, D)."""
        rows = [values[name].flatten(-len(shape)) if shape else values[name][..., None]
                for name, shape in self.shapes.items()]  # fmt: skip
        dtype = functools.reduce(torch.promote_types, (row.dtype for row in rows))  # rounds none
        return torch.cat([row.to(rows[0].device, dtype) for row in rows], dim=-1)[..., None, None, :]

    def unpack(self, packed: torch.Tensor) -> dict[str, torch.Tensor]:
        """A tensor (..., 1, 1, D) as the inputs (..., *shape)."""
        parts = packed.flatten(-3).split_with_sizes(self.sizes, dim=-1)
        pairs = zip(self.shapes.items(), parts, strict=True)
        return {name: part.reshape(*packed.shape[:-3], *shape) for (name, shape), part in pairs}

    @property
    def picture(self) -> str:
        """The input that is shown: the first image, else the first of all."""
        return next((name for name, shape in self.shapes.items() if len(shape) == 3), next(iter(self.shapes)))

    def as_picture(self, packed: torch.Tensor) -> torch.Tensor:
        """Of a tensor (..., 1, 1, D) the input that is shown, (..., C, H, W); others than images as one line."""
        part, shape = self.unpack(packed)[self.picture], self.shapes[self.picture]
        return part if len(shape) == 3 else part.reshape(*packed.shape[:-3], 1, 1, -1)

    def shown(self, packed: torch.Tensor, preprocessing: Preprocessing | None) -> dict[str, Array]:
        """What the network sees of each input of a tensor (N, 1, 1, D): see `Model.to_pixels`; vectors as is."""
        return {
            name: shown_pixels(part, preprocessing if name == self.picture else None)
            if part.ndim > 2
            else part.detach().float().cpu().numpy().copy()
            for name, part in self.unpack(packed).items()
        }

    def each(self, function: Callable[[str, torch.Tensor], torch.Tensor], packed: torch.Tensor) -> torch.Tensor:
        """The same tensor, with a function applied to each input by name."""
        return self.pack({name: function(name, part) for name, part in self.unpack(packed).items()})


@dataclass(frozen=True)
class _Call:
    """Calls a network with what is explained, taken from one tensor, and what is held, repeated for its rows."""

    names: tuple[str, ...]
    held: Mapping[str, torch.Tensor]
    main: str
    packing: Packing | None
    by_name: bool
    forward: Callable[[nn.Module, Any], Any] | None

    def in_words(self, shape: Sequence[int]) -> str:
        """The inputs of a row that has this shape in the one tensor, each by name with its shape."""
        own = {self.main: tuple(shape)} if self.packing is None else self.packing.shapes
        every = {**{name: tuple(row.shape[1:]) for name, row in self.held.items()}, **own}
        return "inputs " + ", ".join(f"{name} {(1, *every[name])}" for name in self.names)

    def __call__(self, network: nn.Module, x: torch.Tensor) -> Any:
        values = {self.main: x} if self.packing is None else self.packing.unpack(x)
        for name, row in self.held.items():
            if len(row) > 1:
                raise ParameterError(
                    f"{name} is held at {len(row)} rows, one for each image, and this function looks at many "
                    "images at once: give it one row"
                )
            like = row.to(x) if row.is_floating_point() else row.to(x.device)
            values[name] = like.repeat(x.shape[0], *(1 for _ in row.shape[1:]))  # a copy, as it may be changed
        given = {name: values[name] for name in self.names}
        if self.forward is not None:
            return self.forward(network, given if self.by_name else tuple(given.values()))
        return network(**given) if self.by_name else network(*given.values())


def required_inputs(network: nn.Module) -> list[str]:
    """The names of forward's parameters without a default; none if they cannot be seen."""
    known = _parameters_of(network)
    if not known:
        return []
    parameters = inspect.signature(network.forward).parameters
    return [name for name in known if parameters[name].default is inspect.Parameter.empty]


def _parameters_of(network: nn.Module) -> list[str] | None:
    """The names of forward's parameters; None if it takes others, or they cannot be seen."""
    try:
        parameters = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        return None
    return [p.name for p in parameters]
