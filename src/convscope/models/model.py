"""`Model`: a network with its preprocessing, its labels and its layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ..arguments import checks_arguments
from ..checks import InputShape, Sides
from ..errors import ModelError, ParameterError
from ..execution.batching import fitting_batch
from ..execution.capture import OUTPUT
from ..execution.digest import device_of, dtype_of, weights_digest
from ..execution.running import check_weights, evaluating, move, refuse_where_it_cannot_run
from ..progress import Progress
from ..results import Array, Normalization, Prediction, Provenance, versions
from ..targets.classes import class_names
from ..targets.resolving import check_class_scores, note_on_scores
from .inputs import Batch, Inputs
from .layers import CONVOLUTIONS, Layer, Structure
from .preprocessing import Preprocessing, from_timm, shown_pixels
from .structure import notes_on, structure


class Model:
    """A network with its preprocessing and the names of its classes.

    The module is not changed: it keeps its mode, its hooks and its gradients through every call.

    Args:
        module: any ``nn.Module`` that takes (N, C, H, W) and returns class scores (N, K); or takes signals
            (N, C, L), or volumes and video (N, C, D, H, W), which are given as tensors.
        input_size: (height, width) of its input in pixels. Images are resized to cover it and cropped at the
            center. Without input_size, mean and std, only preprocessed tensors are accepted.
        mean, std: one value per channel, for pixel values in [0, 1]; their number is the number of channels.
        labels: names of the K classes, in order.
        preprocessing: input_size, mean and std at once, together with resizing and cropping.
        multilabel: whether an image may show several classes; each class then gets its own probability by a
            sigmoid, otherwise by a softmax over all. A softmax or sigmoid inside the network is detected.
        name: the network's name in results; by default the class name of the module.
        device: "cpu", "cuda" or "mps", to which the module is moved; by default it stays where it is.

    Raises:
        ParameterError: some of input_size, mean and std are missing, or do not match each other.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
        >>> model = Model(net, input_size=(8, 8), mean=[0.5], std=[0.5], labels=["no", "yes"])
        >>> [layer.name for layer in model.layers()]
        ['0', '1', '2', '3']
    """

    @checks_arguments
    def __init__(
        self,
        module: nn.Module,
        input_size: tuple[int, int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        labels: Sequence[str] | None = None,
        *,
        preprocessing: Preprocessing | None = None,
        multilabel: bool = False,
        name: str | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise ModelError(f"a {type(module).__name__} is not a network: give a torch.nn.Module or a Model")
        stated = [value is not None for value in (input_size, mean, std)]
        if any(stated) and (not all(stated) or preprocessing is not None):
            raise ParameterError("input_size, mean and std belong together (and exclude preprocessing)")
        if input_size is not None and mean is not None and std is not None:
            preprocessing = Preprocessing(input_size, tuple(mean), tuple(std), resize_px=input_size)
        # The original of a compiled module, since compiled code takes no hooks.
        self.module: nn.Module = getattr(module, "_orig_mod", module)
        if device is not None:
            move(self.module, device)
        self.preprocessing = preprocessing
        self.labels = None if labels is None else tuple(labels)
        self.multilabel = multilabel
        self.name = name or type(module).__name__
        self.notes: tuple[str, ...] = ()  # on the model's origin, for all results

    def __repr__(self) -> str:
        size = "x".join(map(str, self.preprocessing.input_size)) if self.preprocessing else "tensors only"
        n_classes = f", {len(self.labels)} labels" if self.labels else ""
        return f"Model({self.name}, {size}{n_classes}, {self.device})"

    @property
    def device(self) -> torch.device:
        return device_of(self.module)

    @property
    def dtype(self) -> torch.dtype:
        return dtype_of(self.module)

    @property
    def n_channels(self) -> int | None:
        """Channels of an input: those of the preprocessing, or else of the first convolution's input."""
        if self.preprocessing is not None:
            return self.preprocessing.n_channels
        modules = list(self.module.modules())
        return next((m.in_channels for kind in CONVOLUTIONS for m in modules if isinstance(m, kind)), None)

    @checks_arguments
    def layers(self, input_size: Sides | None = None) -> list[Layer]:
        """Every layer whose output is a feature map or a vector, in running order.

        They are found in a few runs on noise, and cached. ``input_size`` is needed only if the model has no
        preprocessing.
        """
        return list(self.structure(self.input_shape(input_size)).layers)

    @checks_arguments
    def structure(self, shape: InputShape | None = None) -> Structure:
        """The layers and their roles, for inputs of this (C, H, W)."""
        return structure(self.module, shape or self.input_shape())

    def _known(self, shape: InputShape) -> Structure:
        """The structure within a call, which has already checked whether the network has changed."""
        found = structure(self.module, shape, fresh=False)
        found.check(self.name)
        return found

    @checks_arguments
    def checked(self, shape: InputShape | None = None, *, gradients: bool = False) -> Structure:
        """The structure, if methods can run on the network; see `Structure.check`."""
        structure = self.structure(shape)
        structure.check(self.name, gradients=gradients)
        return structure

    @checks_arguments
    def feature_layer(self, shape: InputShape) -> Layer:
        """The layer that holds the feature vector of images (C, H, W); `LayerError` if it is not known."""
        structure = self.checked(shape)
        layer, n_classes = structure.features, len(self.labels or ()) or getattr(self.module, "num_classes", None)
        if layer is not None and layer.name == OUTPUT and layer.shape[0] == n_classes:
            why = f"it returns scores of {n_classes} classes, but no visible linear layer computes them"
            structure = replace(structure, features=None, why_no_features=why)
        return structure.feature_layer(self.name)

    @checks_arguments
    def normalization(self, shape: InputShape, n_classes: int) -> Normalization:
        """How scores of ``n_classes`` classes become probabilities, for inputs (C, H, W)."""
        ends_in = self._known(shape).ends_in
        if ends_in:
            return "exp" if ends_in == "log_softmax" else "none"
        return "sigmoid" if self.multilabel or n_classes == 1 else "softmax"

    @checks_arguments
    def input_shape(self, input_size: Sides | None = None) -> InputShape:
        """(C, H, W) of an input, or (C, L), (C, D, H, W), for this size or for the model's own."""
        size = input_size or (self.preprocessing.input_size if self.preprocessing else None)
        if size is None:
            raise ParameterError("the input size of this network is not known: give (H, W), (L,) or (D, H, W)")
        return (self.n_channels or 3, *size)

    def inputs(self, images: Any) -> Inputs:
        """The images of a call; see `convscope.load_images`. A tensor counts as already preprocessed."""
        refuse_where_it_cannot_run(self.module)
        return Inputs(images, self.preprocessing)

    @checks_arguments
    def fitting_batch(
        self,
        shape: InputShape,
        *,
        backward: bool = False,
        fused: bool = False,
        at_most: int | None = None,
    ) -> int:
        """How many images (C, H, W) fit in memory at once; 1 if the network mixes the images of a batch."""
        structure = self._known(shape)
        if not structure.rows_independent:
            return 1
        return fitting_batch(structure.n_values, self.device, backward=backward, fused=fused, at_most=at_most)

    @checks_arguments
    def batches(self, inputs: Inputs, *, backward: bool = False, size: int | None = None) -> Iterator[Batch]:
        """The images of a call in batches that fit in memory, on the network's device, in its dtype and layout."""
        size = self.fitting_batch(inputs.shape, backward=backward, at_most=size)
        prepare = self.preparation(inputs.shape)
        for batch in inputs.batches(size, in_turns=self.device.type == "cpu"):
            yield replace(batch, x=prepare(batch.x))
            check_weights(self.module)

    @checks_arguments
    def preparation(self, shape: InputShape) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function that moves batches of images (C, H, W) to the network's device, dtype and fastest layout."""
        device, dtype, layout = self.device, self.dtype, self._known(shape).memory_format
        return lambda x: x.to(device, dtype, memory_format=layout)

    @checks_arguments
    def predict(self, images: Any, *, progress: Progress | None = None) -> Prediction:
        """The class scores of images.

        Args:
            images: see `convscope.load_images`; a tensor (N, C, H, W) counts as preprocessed.
            progress: called with (images done, images in total).

        Returns:
            A `Prediction`; its ``.top(k)`` gives (label, index, probability, score) for each image.

        Cost: one forward pass per image.
        """
        started = time.perf_counter()
        inputs = self.inputs(images)
        self.checked(inputs.shape)
        scores: list[Array] = []
        names: list[str] = []
        with evaluating(self.module):
            for batch in self.batches(inputs):
                scores.append(check_class_scores(self.module(batch.x), len(batch.x)).float().cpu().clone().numpy())
                names.extend(batch.names)
                if progress:
                    progress(batch.positions[-1] + 1, len(inputs))
        if progress and inputs.skipped:
            progress(len(inputs), len(inputs))  # the last images may have been skipped
        all_scores = np.concatenate(scores)
        normalization = self.normalization(inputs.shape, all_scores.shape[1])
        return Prediction(
            scores=all_scores,
            labels=class_names(self.labels, all_scores.shape[1]),
            names=tuple(names),
            normalization=normalization,
            provenance=self.provenance(
                "predict",
                {},
                started,
                notes=(*note_on_scores(normalization), *inputs.notes),
                skipped=inputs.skipped,
            ),
        )

    @checks_arguments
    def to_pixels(self, x: torch.Tensor) -> Array:
        """Preprocessed (N, C, H, W) -> what the network saw, uint8 (N, H, W, 3); of volumes (N, D, H, W, 3).

        Without a known mean and std, each image is scaled from its own range. Channels that are not three are
        averaged to gray. A signal stays as it is.
        """
        return shown_pixels(x, self.preprocessing)

    def _notes(self) -> tuple[str, ...]:
        """Notes on the network for every result."""
        return (*self.notes, *notes_on(self.module))

    @checks_arguments
    def provenance(
        self,
        method: str,
        parameters: Mapping[str, Any],
        started: float,
        *,
        measured: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        skipped: Sequence[str] = (),
    ) -> Provenance:
        """Where a result comes from; ``started`` is `time.perf_counter` at the beginning of the call."""
        return Provenance(
            method=method,
            parameters={name: _plain(value) for name, value in parameters.items()},
            model={
                "name": self.name,
                "weights_sha256": weights_digest(self.module, since=started),
                "preprocessing": asdict(self.preprocessing) if self.preprocessing else None,
            },
            device=str(self.device),
            versions=dict(versions()),
            seconds=time.perf_counter() - started,
            measured=dict(measured or {}),
            notes=tuple(dict.fromkeys((*self._notes(), *notes))),
            skipped=tuple(skipped),
        )


def _plain(value: Any) -> Any:
    """NumPy numbers as Python's, which JSON reads back unchanged."""
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def as_model(model: Model | nn.Module) -> Model:
    """A `Model` unchanged; a bare module wrapped in one, with the preprocessing that timm stores in its models."""
    if isinstance(model, Model):
        return model
    if hasattr(model, "pretrained_cfg") and isinstance(model, nn.Module):
        from timm.data import resolve_data_config

        return Model(model, preprocessing=from_timm(resolve_data_config({}, model=model)))
    return Model(model)
