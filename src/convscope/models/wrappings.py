"""Extract a network's weights from whatever training scripts save with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..texts import listed

Tensors = Mapping[str, torch.Tensor]

_DEPTH = 3  # how many levels of nested mappings are searched
_COMPILED = "_orig_mod"  # a part that torch.compile inserts into names, anywhere
_COUNTER = "num_batches_tracked"  # missing in checkpoints from before PyTorch 0.4.1, and unused in evaluation
_FEW = 4  # as many tensors as a loss, a metric or a counter may have
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # float8 is meaningless without its scales

# What words in a key say about its set of weights. The worst word counts.
_TRAINED, _AVERAGED, _UNTOLD, _ASIDE, _NO_WEIGHTS = range(5)
_WORDS = {
    _TRAINED: "state dict model net network module orig mod weights params parameters checkpoint ckpt backbone "
    "trunk encoder student online base q query",
    _AVERAGED: "ema swa averaged average avg shadow best",
    _ASIDE: "teacher target momentum k key exp init initial pretrain pretrained old prev previous backup ref "
    "reference",
    _NO_WEIGHTS: "optimizer optimizers optim optimiser adam sgd grad grads gradient gradients opt",
}
_RANKS = {word: rank for rank, words in _WORDS.items() for word in words.split()}


@dataclass(frozen=True)
class _Set:
    """The tensors below one prefix in one mapping, by their names in the network."""

    name: str  # of the mapping and the prefix
    tensors: dict[str, torch.Tensor]
    others: dict[str, torch.Tensor]  # below the same prefix, but unknown to the network

    @property
    def rank(self) -> int:
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", self.name)
        return max((_RANKS.get(word.lower(), _UNTOLD) for word in words), default=_TRAINED)

    @property
    def n_weights(self) -> int:
        return sum(not name.endswith(_COUNTER) for name in self.tensors)

    @property
    def title(self) -> str:
        return repr(self.name) if self.name else "the top level"


@dataclass(frozen=True)
class Found:
    """Tensors by their names in the network, where they were, and what else the checkpoint holds."""

    tensors: dict[str, torch.Tensor]
    place: str
    also: tuple[str, ...] = ()  # the places of other sets that also fit
    n_others: int = 0  # tensors in none of the sets that fit
    aside: bool = False  # whether the place sounds like something other than the network's weights

    def of(self, source: str) -> str:
        """The file, and which of its sets was taken."""
        return f"{source} (of several sets of weights, those in {self.place})" if self.also else source

    def note(self, source: str) -> tuple[str, ...]:
        """Notes on which weights were taken."""
        notes = []
        if self.also:
            others = ", ".join(self.also)
            notes.append(
                f"{source} holds several sets of weights: those in {self.place} were taken, not those in {others}"
            )
        elif self.aside:
            notes.append(f"{source} holds weights that fit only in {self.place}; these were taken")
        if self.n_others > _FEW:
            notes.append(f"{self.n_others} other tensors in {source} are not of this network")
        return tuple(notes)


def weights_in(content: Mapping[Any, Any], own: Tensors, source: str) -> Found:
    """The set of weights in a checkpoint that has the names of a network, with its prefix removed.

    Names decide, and shapes except those of the classifier, because the file sets the number of classes. If
    several sets fit, the one whose key sounds most like trained weights is taken.

    Args:
        content: the content of the file, mappings nested in mappings.
        own: the state dict of the network.
        source: the file, for errors.

    Raises:
        ModelError: it holds no named tensors, or several sets that fit equally well.
    """
    sets = [found for place, tensors in _state_dicts(content, "") for found in _sets(tensors, own, place, source)]
    sets = [found for found in sets if found.rank < _NO_WEIGHTS]
    if not sets:
        raise ModelError(f"{source}: no state dict (a mapping from names to tensors) in it")
    fitting = [found for found in sets if _fits(found.tensors, own)]
    if not fitting:  # the nearest set, so that `fit_weights` can say what is wrong with it
        nearest = max(sets, key=lambda found: (*_fit(found.tensors, own), len(found.others)))
        return Found({**nearest.tensors, **nearest.others}, nearest.title)
    fitting.sort(key=lambda found: (found.rank, -found.n_weights, len(found.name)))
    taken, differing = fitting[0], [found for found in fitting[1:] if not _part(found.tensors, fitting[0].tensors)]
    rivals = [found for found in differing if (found.rank, found.n_weights) == (taken.rank, taken.n_weights)]
    if rivals:
        raise ModelError(
            f"{source} holds several sets of weights that fit equally well, in "
            f"{', '.join(found.title for found in (taken, *rivals))}; save the one you mean in a file of its own"
        )
    known = {id(tensor) for found in fitting for tensor in found.tensors.values()}
    extra = {key: tensor for key, tensor in taken.others.items() if id(tensor) not in known}
    known |= {id(tensor) for tensor in extra.values()}
    everything = {id(t) for found in sets for t in (*found.tensors.values(), *found.others.values())}
    return Found(
        {**taken.tensors, **extra},
        taken.title,
        tuple(found.title for found in differing),
        len(everything - known),
        taken.rank == _ASIDE,
    )


def _state_dicts(content: Mapping[Any, Any], place: str, depth: int = _DEPTH) -> Iterator[tuple[str, Tensors]]:
    """The mappings that hold tensors by name; their other values are counters and options."""
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and torch.is_tensor(value)}
    if tensors:
        yield place, tensors
    for key, value in content.items():
        if depth and isinstance(key, str) and isinstance(value, Mapping):
            yield from _state_dicts(value, f"{place}.{key}" if place else key, depth - 1)


def _sets(tensors: Tensors, own: Tensors, place: str, source: str) -> Iterator[_Set]:
    """A set for each prefix ("module.", "net.backbone.") that precedes names of the network."""
    found: dict[str, dict[str, str]] = {"": {}}  # prefix -> name in the network -> key
    for key in tensors:
        parts = key.split(".")
        for n in range(len(parts)):
            name = ".".join(part for part in parts[n:] if part != _COMPILED)
            if parts[n] != _COMPILED and name in own:
                names = found.setdefault("".join(f"{part}." for part in parts[:n]), {})
                if name in names:
                    raise ModelError(
                        f"{source}: two tensors for {name}: {names[name]} and {key}; save one of them"
                    )
                names[name] = key
    for prefix, names in found.items():
        used = set(names.values())
        yield _Set(
            ".".join(part for part in (place, prefix.rstrip(".")) if part),
            {name: tensors[key] for name, key in names.items()},
            {
                key.removeprefix(prefix): tensor
                for key, tensor in tensors.items()
                if key.startswith(prefix) and key not in used
            },
        )


def classifier(own: Tensors) -> str | None:
    """The weight of the last layer."""
    return next((key for key, tensor in reversed(list(own.items())) if tensor.ndim >= 2), None)


def _fits(tensors: Tensors, own: Tensors) -> bool:
    """Whether they are complete and of the right shapes, except in layers that depend on the number of classes."""
    head = classifier(own)
    n_own = own[head].shape[0] if head else None
    n_given = tensors[head].shape[0] if head and head in tensors and tensors[head].ndim else n_own
    for name, tensor in own.items():
        by_class = tensor.ndim > 0 and tensor.shape[0] == n_own  # also in auxiliary classifiers
        if name not in tensors:
            if not by_class and not name.endswith(_COUNTER):
                return False
        elif tensors[name].shape not in (tensor.shape, (n_given, *tensor.shape[1:]) if by_class else None):
            return False
    return True


def _fit(tensors: Tensors, own: Tensors) -> tuple[int, int]:
    """How many tensors have a name of the network, and how many of these the right shape."""
    return len(tensors), sum(tensor.shape == own[name].shape for name, tensor in tensors.items())


def _part(part: Tensors, whole: Tensors) -> bool:
    """Whether one set is contained in the other, with equal values."""
    return part.keys() <= whole.keys() and all(_same(part[name], whole[name]) for name in part)


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two tensors of any type are equal bit for bit."""
    if first is second:
        return True
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    if any(t.is_meta or t.is_quantized or t.layout != torch.strided for t in (first, second)):
        return False  # such tensors are no weights anyway
    one, other = (t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (first, second))
    return torch.equal(one, other)


def fit_weights(module: nn.Module, weights: Tensors, source: str) -> None:
    """Load a state dict; `ModelError` lists what does not fit or cannot be run."""
    own = module.state_dict()
    missing = [key for key in own if key not in weights and not key.endswith(_COUNTER)]
    extra = [key for key in weights if key not in own]
    reshaped = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    ]
    problems = _in_words((("missing", missing), ("unknown", extra), ("of another shape", reshaped)))
    if problems:
        raise ModelError(f"{source}: the weights belong to another network ({problems})")
    used = {key: weights[key] for key in own if key in weights}
    kinds: dict[str, list[str]] = {}
    for key, tensor in used.items():
        if fault := _fault(tensor, own[key]):
            kinds.setdefault(fault, []).append(key)
    if kinds:
        raise ModelError(
            f"{source}: a network cannot run with these weights ({_in_words(tuple(kinds.items()))}); save the "
            "state_dict() of a network in float32 or half precision whose scores are finite"
        )
    module.load_state_dict(used, strict=False)


def _in_words(problems: tuple[tuple[str, list[str]], ...]) -> str:
    return "; ".join(f"{what}: {listed(keys, 4)}" for what, keys in problems if keys)


def _fault(tensor: torch.Tensor, own: torch.Tensor) -> str:
    """Why a tensor cannot replace the network's own tensor of the same shape; "" if it can."""
    if tensor.is_meta:
        return "without values (on the meta device)"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_quantized or own.is_quantized:
        return "" if own.is_quantized else "quantized"
    if own.is_floating_point() and not tensor.is_floating_point():
        return f"of {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.is_floating_point() and tensor.dtype not in _FLOATS:
        return f"of {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.is_floating_point():
        values = tensor.to(own.dtype) if own.is_floating_point() else tensor  # float64 may overflow float32
        if not torch.isfinite(values).all() and torch.isfinite(own).all():  # an attention mask may be infinite
            return f"NaN or infinite in {str(values.dtype).removeprefix('torch.')}"
    return ""
