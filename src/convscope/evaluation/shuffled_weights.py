"""Networks whose weights are shuffled, one stage of layers alone or all down to it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import ModelError
from ..execution import evaluating, hooks
from ..execution.interrupts import orderly_interrupts
from ..models import Model


def each_shuffled(model: Model, stages: Sequence[Sequence[str]], seed: int) -> Iterator[Model]:
    """A copy of a network, first with each stage alone shuffled, then with more and more of them.

    It is the same copy each time, so use it before asking for the next.
    """
    twin, learned = copy.deepcopy(model.network), model.network.state_dict()
    random = model.around(twin)
    for stage in stages:
        shuffle(twin, stage, seed)
        yield random
        twin.load_state_dict(learned)
    for stage in stages:
        shuffle(twin, stage, seed)
        yield random


def stages_of(names: Sequence[str], n: int) -> list[list[str]]:
    """At most n groups of layers, from the last layer on, which is alone; ``names`` are in running order."""
    last, *rest = reversed(names)
    if n == 1:
        return [[last, *rest]]
    parts = np.array_split(rest, min(n - 1, len(rest))) if rest else []
    return [[last], *([str(name) for name in part] for part in parts)]


def in_order(model: Model, image: Any) -> list[str]:
    """The modules with weights, in the order in which they start to run."""
    weighted = {m: name for name, m in model.module.named_modules() if list(m.parameters(recurse=False))}
    ran: dict[str, None] = {}
    with evaluating(model.module), hooks() as attached:
        for module, name in weighted.items():
            attached.append(module.register_forward_pre_hook(lambda *_, name=name: ran.setdefault(name)))
        model.module(next(model.batches(model.inputs(image), size=1)).x.clone())
    if not ran:
        raise ModelError(f"{model.name} has no weights to shuffle")
    return list(ran)


def shuffle(module: nn.Module, stage: Sequence[str], seed: int) -> None:
    """Shuffle each weight tensor of these modules, and the statistics of batch norms."""
    generator = torch.Generator().manual_seed(seed)
    with orderly_interrupts(), torch.no_grad():
        for name in stage:
            layer = module.get_submodule(name)
            tensors = (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
            for parameter in (t for t in tensors if t.is_floating_point()):  # and not counters or indices
                order = torch.randperm(parameter.numel(), generator=generator, device="cpu").to(parameter.device)
                parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
