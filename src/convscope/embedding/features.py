"""From a batch of images to feature vectors and, where asked for, class scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from ..checks import InputShape, Precision
from ..errors import LayerError, ModelError
from ..execution import OUTPUT, copied, evaluating, folded_batch_norm, main_output, module_at, place_of, run_to
from ..models import Layer, Model, as_maps
from ..results import Array, Normalization

_FAST_BATCH = 8  # on a CPU, in bfloat16 or compiled: 5 to 10 % faster than 4 at once, and than 16


@dataclass(frozen=True)
class Features:
    """What n images give: ``vectors`` (n, D) float32, and class ``scores`` (n, K) if the network ran on to them.

    ``normalization`` says how scores become probabilities.
    """

    vectors: Array
    scores: Array | None
    normalization: Normalization = "softmax"


@dataclass(frozen=True)
class Extractor:
    """A network, the layer that gives the vectors, and how it is run.

    ``shape`` is (C, H, W) of the preprocessed images. With ``scores`` the network runs on to the class scores,
    otherwise no further than the layer.
    """

    model: Model
    layer: Layer
    shape: InputShape
    precision: Precision = "float32"
    compiled: bool = False
    scores: bool = False

    @classmethod
    def at(cls, model: Model, shape: InputShape, layer: str | None, **options: Any) -> Extractor:
        """At the layer of a name; by default what the classifier takes in, or the output where there is none."""
        found = model.feature_layer(shape) if layer is None else model.checked(shape).find(layer)
        return cls(model, found, shape, **options)

    @property
    def n_dims(self) -> int:
        return self.layer.shape[0]

    @property
    def batch_size(self) -> int:
        """Images at once that fit, and are fastest."""
        is_fast = self.model.device.type == "cpu" and (self.precision == "bfloat16" or self.compiled)
        return self.model.fitting_batch(self.shape, at_most=_FAST_BATCH if is_fast else None)

    def notes(self, asked: str | None) -> tuple[str, ...]:
        """A last linear layer is most often a classifier; where no labels confirm it, that is an assumption."""
        if asked is not None or self.layer.name == OUTPUT or self.model.labels:
            return ()
        return (
            f"the last linear layer is taken for a classifier, and the vectors are what it takes in "
            f"({self.layer.name}); layer={OUTPUT!r} embeds by the network's output",
        )

    @contextmanager
    def running(self) -> Iterator[Callable[[torch.Tensor], Features]]:
        """A function from preprocessed images (n, C, H, W) to `Features`, as long as the context lasts.

        Meanwhile the network is in evaluation mode, and its batch norms are folded into the convolutions.
        """
        prepare = self.model.preparation(self.shape)
        half = self.precision == "bfloat16"
        module = copied(self.model.module, torch.bfloat16) if half else self.model.module
        with evaluating(module):
            folding: AbstractContextManager[Any] = nullcontext()
            if self.compiled:
                run = _compiled(module, self.layer, self.batch_size)
            else:
                run = partial(run_to, module, names=[self.layer.name, OUTPUT][: 1 + self.scores])
                example = torch.zeros(1, *self.shape, dtype=torch.float32, device="cpu")
                folding = _folded(module, self.layer, prepare(example))

            def features(x: torch.Tensor) -> Features:
                prepared = prepare(x)
                return self._features(run(prepared.to(torch.bfloat16) if half else prepared))

            with folding:
                yield features

    def _features(self, found: dict[str, Any]) -> Features:
        """From what the network gave by name; of a map, each channel's mean."""
        values = as_maps(found[self.layer.name], self.layer).float()
        vectors = values.flatten(2).mean(dim=2) if values.ndim > 2 else values
        output = found.get(OUTPUT)
        scores = None
        if output is not None and output.ndim == 2 and self.layer.name != OUTPUT:
            scores = output.float().cpu().numpy()
        n_classes = 0 if scores is None else scores.shape[1]
        return Features(vectors.cpu().numpy(), scores, self.model.normalization(self.shape, n_classes))


def _folded(module: nn.Module, layer: Layer, example: torch.Tensor) -> AbstractContextManager[Any]:
    """Batch norm folded into the convolutions: fewer passes over the maps.

    Only for a vector: a map could be the output of a convolution that has taken its batch norm in.
    """
    if len(layer.shape) != 1:
        return nullcontext()
    given = example.to(next((p.dtype for p in module.parameters()), example.dtype))
    return folded_batch_norm(module, lambda: run_to(module, given, [layer.name]))


class _WithLayer(nn.Module):
    """A network that also gives what one of its layers took in, or put out, when it ran first."""

    def __init__(self, module: nn.Module, layer: str) -> None:
        super().__init__()
        self.module = module
        self.kept: torch.Tensor | None = None
        place = place_of(layer)
        if place.call or place.item is not None:
            raise LayerError(
                f"layer {layer!r}: compiled=True knows only a layer's first call, and no lists; use compiled=False"
            )
        child = module_at(module, place.path)
        if place.is_input:
            child.register_forward_pre_hook(lambda _, given: self.keep(given[0]))
        else:
            child.register_forward_hook(lambda _, given, output: self.keep(main_output(output)))

    def keep(self, x: torch.Tensor | None) -> None:
        if self.kept is None:
            self.kept = x

    def forward(self, x: torch.Tensor) -> tuple[Any, torch.Tensor | None]:
        self.kept = None
        return self.module(x), self.kept


def _compiled(module: nn.Module, layer: Layer, n: int) -> Callable[[torch.Tensor], dict[str, Any]]:
    """The whole network as torch.compile makes it, always for n images, as it would compile again for others.

    Frozen weights take in the batch norms and what follows a convolution. That is asked of the whole process while
    it compiles, as ``options={"freezing": True}`` reaches the compiler when the weights are arguments already.
    """
    whole = torch.compile(_WithLayer(copied(module), layer.name), dynamic=False)

    def run(x: torch.Tensor) -> dict[str, Any]:
        from torch._inductor import config as inductor

        full = torch.cat([x, x[-1:].expand(n - len(x), *x.shape[1:])]) if len(x) < n else x
        try:
            with inductor.patch(freezing=True):
                layout = torch.channels_last if full.ndim == 4 else torch.contiguous_format
                output, kept = whole(full.contiguous(memory_format=layout))
        except Exception as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"this network cannot be compiled here ({first}); use compiled=False") from error
        found = {layer.name: kept[: len(x)]}
        return found | {OUTPUT: output[: len(x)]} if isinstance(output, torch.Tensor) else found

    return run
