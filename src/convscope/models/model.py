"""`Model`: a network with its preprocessing, its labels and its layers."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..arguments import checks_arguments
from ..checks import InputShape, Sides
from ..execution.batching import fitting_batch
from ..execution.digest import device_of, dtype_of
from ..execution.running import check_weights, move, network_of, refuse_where_it_cannot_run
from ..progress import Progress
from ..results import Array, Normalization, Prediction, Provenance, Summary
from .adapted import Call, Choose, adapted, chooser
from .channels_last import torch_module
from .inputs import Batch, Inputs
from .layers import Layer, Structure, first_convolution, n_sides_of, sides_of
from .origin import provenance_of
from .predicting import check_meaning, normalization_of, prediction_of
from .preprocessing import Preprocessing, shown_pixels
from .several_inputs import Packing, SeveralInputs, are_tensors
from .stated import settled
from .structure import notes_on, share_structure, structure


class Model:
    """A network with its preprocessing and the names of its classes.

    The module is not changed: it keeps its mode, its hooks and its gradients through every call.

    Args:
        module: any ``nn.Module``, or Keras 3 model with the torch backend, from (N, C, H, W), (N, C, L) or
            (N, C, D, H, W) to class scores (N, K); see ``inputs``, ``output`` and ``forward`` for others.
        input_size: (height, width) of its input in pixels, to which images are resized and cropped at the center.
            Without mean and std, preprocessed tensors alone are accepted, also (length,), (depth, height, width).
        mean, std: one value per channel, for pixel values in [0, 1]; their number is the number of channels.
        labels: names of the K classes, in order; () for a network whose output is a feature vector.
        preprocessing: all three at once, with resizing and cropping; those given by themselves replace its own.
        multilabel: whether an image may show several classes, each with a probability by its own sigmoid, not by a
            softmax over all. A softmax or sigmoid inside the network is detected.
        regression: whether the outputs are values in a unit of their own, named by ``labels``, not class scores.
        name: the network's name in results; by default the class name of the module.
        device: "cpu", "cuda" or "mps", to which the module is moved; by default it stays where it is.
        inputs: of a network with several: tensors by the names of forward's parameters, or in their order, with a
            row for all images or for each. Methods look at the first image among them, or at what a call gives.
        output: where the class scores are in what the network returns: a key, attribute or index, a path such as
            "heads.0", or a function from it to (N, K) or (N,). By default, the only tensor that can be meant.
        forward: a function (module, x) -> output that runs the network; x is the dict or tuple of all ``inputs``.

    Raises:
        ParameterError: mean or std without the other two, or not matching; inputs that the network does not
            take; outputs that are said to be both labels and values.

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
        input_size: int | Sides | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        labels: Sequence[str] | None = None,
        *,
        preprocessing: Preprocessing | None = None,
        multilabel: bool = False,
        regression: bool = False,
        name: str | None = None,
        device: str | torch.device | None = None,
        inputs: Any = None,
        output: Any = None,
        forward: Callable[..., Any] | None = None,
    ) -> None:
        module = torch_module(module)
        self.network: nn.Module = getattr(module, "_orig_mod", module)  # as compiled code takes no hooks
        if device is not None:
            move(self.network, device)
        self.name = name or type(module).__name__
        size = self.known_size = None if input_size is None else sides_of(self.network, input_size)
        self.preprocessing, self.notes = settled(self.name, preprocessing, size, mean, std)
        self.labels = None if labels is None else tuple(labels)
        check_meaning(multilabel, regression)
        self.multilabel, self.regression = multilabel, regression
        self.several = None if inputs is None else SeveralInputs.of(self.network, inputs, forward)
        self.explained: tuple[str, ...] = () if self.several is None else (self.several.main,)  # in the tensor
        self._call = forward if self.several is None else self.several.calling(self.explained)
        self._choose = chooser(output)
        self.module = adapted(self.network, self._call, self._choose)
        # Those that have one structure, by what is explained.
        self._alike: dict[tuple[str, ...], nn.Module] = {self.explained: self.module}

    def __repr__(self) -> str:
        size = "x".join(map(str, self.preprocessing.input_size)) if self.preprocessing else "tensors only"
        return f"Model({self.name}, {size}{f', {len(self.labels)} labels' if self.labels else ''}, {self.device})"

    @property
    def packing(self) -> Packing | None:
        """How the inputs that are explained lie in one tensor; None for one image, which is that tensor."""
        return None if self.several is None else self.several.packing(self.explained)

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
        first = first_convolution(self.module)
        return getattr(self.module, "image_channels", None) if first is None else first.in_channels

    @checks_arguments
    def layers(self, input_size: int | Sides | None = None) -> list[Layer]:
        """Every layer with a feature map or a vector, in running order; ``input_size`` where none is stated."""
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
        if self.labels == () and structure.output is not None:  # no classifier, even if the last layer is linear
            return structure.output
        n_classes = len(self.labels or ()) or getattr(network_of(self.module), "num_classes", None)
        return structure.feature_layer(self.name, n_classes)

    @checks_arguments
    def normalization(self, shape: InputShape, n_classes: int) -> Normalization:
        """How scores of ``n_classes`` classes become probabilities, for inputs (C, H, W); "values" do not."""
        return normalization_of(self._known(shape).ends_in, n_classes, self.multilabel, self.regression)

    @checks_arguments
    def input_shape(self, input_size: int | Sides | None = None) -> InputShape:
        """(C, H, W) of an input, or (C, L), (C, D, H, W), for this size or for the model's own."""
        own = self.preprocessing.input_size if self.preprocessing else self.known_size
        if input_size is None and own is None and self.several is not None:
            return self.several.shape(self.explained)
        return (self.n_channels or 3, *sides_of(self.module, input_size or own))

    @checks_arguments
    def summary(self, input_size: int | Sides | None = None, *, progress: Progress | None = None) -> Summary:
        """Layers, what was detected, and which methods fit, tried on noise in some 30 passes; see `Summary`."""
        summarized = importlib.import_module("convscope.inspection").summarized  # above this room, as methods are
        return summarized(self, self.input_shape(input_size), progress)  # type: ignore[no-any-return]

    def inputs(self, images: Any) -> Inputs:
        """The images of a call, see `convscope.load_images`; a tensor (N, C, H, W) counts as preprocessed."""
        refuse_where_it_cannot_run(self.module)
        return Inputs(images, None if self.packing else self.preprocessing, n_sides_of(self.module))

    @checks_arguments
    def around(self, network: nn.Module) -> Model:
        """The same model of another network with the same layers."""
        return self._with(network, self._call, self._choose)

    @checks_arguments
    def bound(self, images: Any, *, jointly: bool = False) -> tuple[Model, Any]:
        """For a call on several inputs, see `SeveralInputs.bound`; model and images of any other as they are."""
        if self.several is None or not are_tensors(images):
            return self, images
        several, names, x = self.several.bound(images, jointly=jointly)
        return self._of(several, names), x

    def together(self, images: Any) -> tuple[Model, Any]:
        """For a call on rows of several inputs, the model as a function of them, and these in one tensor."""
        if self.several is None or not (are_tensors(images) or isinstance(images, torch.Tensor)):
            return self, images
        several, names, x = self.several.together(images)
        return self._of(several, names), x

    def row_by_row(self, images: Any) -> list[tuple[Model, Any]] | None:
        """For inputs that differ from image to image, a model and the inputs for each; None if one model does."""
        calls = None if self.several is None else self.several.row_by_row(images)
        return None if calls is None else [(self._of(one, (one.main,)), given) for one, given in calls]

    def choosing(self, output: Any) -> Model:
        """The same model with another ``output``: where in what the network returns its class scores are."""
        return self._with(self.network, self._call, chooser(output))

    @checks_arguments
    def of_network(self, network: nn.Module) -> Model:
        """The same model of another network that is called alike, such as a changed copy of its own."""
        return self._with(network, self._call, self._choose)

    def _of(self, several: SeveralInputs, names: tuple[str, ...]) -> Model:
        """The same model as a function of these inputs, the others held."""
        model = self._with(self.network, several.calling(names), self._choose)
        model.several, model.explained, model._alike = several, names, self._alike
        share_structure(self._alike.setdefault(names, model.module), model.module)
        return model

    def _with(self, network: nn.Module, call: Call | None, choose: Choose | None) -> Model:
        """The same model of this network, run and read by these functions."""
        model = copy.copy(self)
        model.network, model._call, model._choose = network, call, choose
        model.module = adapted(network, call, choose)
        model._alike = {model.explained: model.module}
        return model

    @checks_arguments
    def fitting_batch(
        self, shape: InputShape, *, backward: bool = False, fused: bool = False, at_most: int | None = None
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
        return prediction_of(self, images, progress)

    @checks_arguments
    def to_pixels(self, x: torch.Tensor) -> Array:
        """Preprocessed (N, C, H, W) -> what the network saw, uint8 (N, H, W, 3); of volumes (N, D, H, W, 3).

        Without a known mean and std, each image is scaled from its own range. Channels that are not three are
        averaged to gray. A signal stays as it is.
        """
        return shown_pixels(x if self.packing is None else self.packing.as_picture(x), self.preprocessing)

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
        measured = measured or {}
        return provenance_of(self, method, parameters, started, measured=measured, notes=notes, skipped=skipped)
