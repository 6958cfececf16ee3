"""Look at a network while it is trained: the same images, again and again, and a strip of what changed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..activations import filters
from ..arguments import checks_arguments
from ..attribution import ATTRIBUTIONS
from ..errors import ConvscopeError, LayerError, NotPicturesError, OutputError, ParameterError
from ..images import ImageSet, load_images
from ..images.image_source import ImageSource
from ..models import Model, are_tensors, as_model
from ..outputs import new_directory
from ..registry import method_key
from ..render import attribution_overlay, save_png
from ..render.grids import columns_for, tile
from ..render.strip_figures import filter_pictures
from ..results import Attribution, TrainingStrip
from ..synthesis import visualize
from ..targets import Several, Target
from ..texts import counted
from .kept_moments import STRIP, folder_of, is_due, moments_in, remove, superfluous
from .views import Views, is_alike, read, shown_filters, write

N_IMAGES, N_CLASSES = 16, 8  # at most
ASCENT = 24  # steps to a class picture, of several views each: few, as the training waits


@checks_arguments
class Watch:
    """Watch a network while it is trained, from a training loop of your own.

    Every ``every`` steps it makes the maps of the same images, the first layer's filters, and an input that each
    of some classes likes, and keeps them in a folder, with a strip that shows how they change: a row an image, a
    column a moment. The training goes on as if nobody had looked, bit for bit.

        watch = Watch(model, images, "out/watch", every=200)
        for step, (x, y) in enumerate(batches):
            ...  # as always
            watch.step(step)
        watch.finish(step)

    The interval doubles each time that the strip is full, and every second moment is dropped, so that time and
    disk stay bounded however long the training is. A run that was killed goes on with the strip if its folder is
    given again. A problem at the first look is raised; later ones only warn: a training is worth more than a look.

    Args:
        model: a `Model` or the module that is trained.
        images: at most 16 images; see `convscope.load_images`; a tensor (N, C, H, W) counts as preprocessed. They
            are read once. Of a network with several inputs, the image or a dict of the inputs, for a method that
            explains the image among them, as Grad-CAM does.
        output_dir: a new folder, or that of the run that goes on.
        every: steps between looks, at first.
        method: a name of `convscope.ATTRIBUTIONS`.
        target: of the maps, one for each image; by default the class predicted at each moment, which may change.
        options: of the method.
        classes: indices or labels of the classes to make a picture for, at most 8; each costs 64 forward and
            backward passes a look.
        n_moments: columns of the strip, at most; the latest look may be one more.
        writer: anything with TensorBoard's ``add_image(tag, image, step, dataformats=)``, such as
            ``torch.utils.tensorboard.SummaryWriter``; every look is added there, too.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
        ParameterError: too many images, or the folder holds a watch of other images, by another method.
        NotPicturesError: an `ImageError`: maps of signals, of volumes, or of several inputs together.
        ImageError, LayerError, ModelError, TargetError: raised by the method, which runs once to see that it can.

    Cost: of a look, that of the method on the images and about a second to draw the strip. There are at most
    ``n_moments`` looks until the strip is full, and half as many for each doubling of the steps.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
        >>> watch = Watch(net, torch.rand(2, 1, 8, 8), "out/watch", every=100)
        >>> watch
        Watch(2 images by grad_cam, 0 moments in out/watch)
    """

    def __init__(
        self,
        model: Model | nn.Module,
        images: Any,
        output_dir: str | Path,
        *,
        every: int = 100,
        method: str = "grad_cam",
        target: Target = None,
        options: Mapping[str, Any] | None = None,
        classes: Sequence[int | str] = (),
        n_moments: int = 12,
        writer: Any = None,
    ) -> None:
        if writer is not None and not callable(getattr(writer, "add_image", None)):
            raise ParameterError(f"writer: a {type(writer).__name__} has no add_image(); give a SummaryWriter")
        if isinstance(target, Several):
            raise ParameterError("target: expected one for each image, not Several")
        if len(classes) > N_CLASSES:
            raise ParameterError(f"classes: {len(classes)}; at most {N_CLASSES}")
        self.writer = writer
        self._model, self._method = as_model(model), method_key(method)
        self._output_dir, self._every, self._n_moments = Path(output_dir), every, n_moments
        self._options, self._target, self._classes = dict(options or {}), target, list(classes)
        taken = moments_in(self._output_dir)
        self._images = _kept(self._model, images)
        self._latest = -1  # the step of the latest look, or of the attempt
        self._since: int | None = None  # the first step of this run
        self._own: set[int] = set()  # the moments that this run has taken
        found = self._views(n_steps=1)
        self._n_images = len(found.maps.names)
        if taken and not is_alike(found, read(list(taken.values())[-1])):
            raise ParameterError(
                f"output_dir={str(output_dir)!r}: holds a watch of other images, by another method, or of another "
                "network; give a new folder"
            )

    def __repr__(self) -> str:
        images, moments = counted(self._n_images, "image"), counted(len(moments_in(self._output_dir)), "moment")
        return f"Watch({images} by {self._method}, {moments} in {self._output_dir})"

    @checks_arguments
    def step(self, step: int) -> bool:
        """Look at the network if it is time to; call it after every step of the training, or now and then.

        Args:
            step: how many steps the training has done, also before this run.

        Returns:
            Whether there is a new look.
        """
        self._since = step if self._since is None else self._since
        of_past = [other for other in moments_in(self._output_dir) if not self._is_lost(other)]
        tried = [self._latest] if self._latest >= 0 else []
        if not is_due(step, [*of_past, *tried], self._every, self._n_moments):
            return False
        return self._tried(step)

    @checks_arguments
    def finish(self, step: int) -> bool:
        """Look once more after the last step, unless that was just done; a problem only warns.

        Returns:
            Whether there is a new look.
        """
        return step != self._latest and self._tried(step)

    @checks_arguments
    def look(self, step: int) -> None:
        """Look at the network now, whether it is time to or not.

        Raises:
            OutputError: the folder holds a longer training, which a new one must not replace.
            ConvscopeError: the network cannot be explained, for example because its scores are NaN.
        """
        taken = moments_in(self._output_dir)
        if len(taken) > 1 and step <= min(taken):
            raise OutputError(
                f"{self._output_dir}: holds a training from step {min(taken)} to {max(taken)}, which one at step "
                f"{step} does not go on with; give a new folder, or remove it"
            )
        self._since = step if self._since is None else self._since
        self._latest = step
        views = self._views(n_steps=ASCENT)
        lost = {other for other in taken if self._is_lost(other)}
        remove(taken, lost.union(superfluous(step, taken.keys() - lost, self._every, self._n_moments)))
        with new_directory(folder_of(step, self._output_dir)) as partial:
            write(views, partial)
        self._own.add(step)
        strip = self.strip()
        place = save_png(strip, self._output_dir / STRIP)
        if self.writer is not None:
            self._add_images(views, strip, place, step)

    @checks_arguments
    def strip(self) -> TrainingStrip:
        """The moments kept so far, as one result.

        Raises:
            OutputError: there is none yet.
        """
        taken = moments_in(self._output_dir)
        if not taken:
            raise OutputError(f"{self._output_dir}: holds no moment yet")
        every = [read(folder) for folder in taken.values()]
        maps, layer = [views.maps for views in every], every[-1].filters
        height, width = maps[0].values.shape[1:]
        made, seconds = maps[-1].provenance, sum(one.provenance.seconds for one in maps)
        parameters = {"method": self._method, "every": self._every, **made.parameters}
        return TrainingStrip(
            steps=np.array(list(taken), np.int64),
            maps=np.stack([one.values for one in maps]),
            targets=tuple(name for one in maps for name in one.targets),
            scores=np.stack([one.scores for one in maps]),
            images=maps[-1].images,
            names=maps[-1].names,
            unit=maps[-1].unit,
            signed=maps[-1].signed,
            filters=np.stack([shown_filters(views.filters) for views in every]),
            layer=layer.layer if layer else "",
            pictures=np.array([picture.image for views in every for picture in views.pictures], np.uint8).reshape(
                len(every), len(every[-1].pictures), height, width, 3
            ),
            classes=tuple(picture.target for picture in every[-1].pictures),
            provenance=replace(made, method="watch", parameters=parameters, seconds=seconds),
        )

    def _is_lost(self, moment: int) -> bool:
        """Whether a moment is of a run that was killed, after the checkpoint with which this run began."""
        return self._since is not None and moment >= self._since and moment not in self._own

    def _tried(self, step: int) -> bool:
        is_first = self._latest < 0
        try:
            self.look(step)
        except (ConvscopeError, RuntimeError) as error:
            if is_first:
                raise
            warnings.warn(f"watch: no look at step {step}: {error}", stacklevel=3)
            return False
        return True

    def _views(self, n_steps: int) -> Views:
        maps = ATTRIBUTIONS[self._method](self._model, self._images, target=self._target, **self._options)
        _check_pictures(self._method, maps)
        try:
            first = filters(self._model)
        except LayerError:  # a network without convolutions
            first = None
        size = (maps.values.shape[1], maps.values.shape[2])
        pictures = [visualize(self._model, target=c, n_steps=n_steps, size_px=size) for c in self._classes]
        return Views(maps, first, tuple(pictures))

    def _add_images(self, views: Views, strip: TrainingStrip, place: Path, step: int) -> None:
        """Hand pictures (H, W, 3) uint8 to the writer."""
        overlays = np.stack([attribution_overlay(views.maps, n) for n in range(len(views.maps.names))])
        pictures = {"maps": tile(overlays, columns_for(len(overlays)), gap=4)}
        if views.pictures:
            inputs = np.stack([picture.image for picture in views.pictures])
            pictures["classes"] = tile(inputs, columns_for(len(inputs)), gap=4)
        if views.filters is not None:
            pictures["filters"] = filter_pictures(strip)[-1]
        with Image.open(place) as opened:
            pictures["strip"] = np.asarray(opened.convert("RGB"))
        for name, picture in pictures.items():
            self.writer.add_image(f"convscope/{name}", picture, step, dataformats="HWC")


def _check_pictures(method: str, maps: Attribution) -> None:
    """`NotPicturesError` for maps that a strip has no place for."""
    if maps.given:
        raise NotPicturesError(
            f"{method} explains {', '.join(maps.given)} together, and a watch draws those of one image: choose "
            "a method that explains the image alone, such as 'grad_cam' or 'occlusion', or give only the image"
        )
    if maps.values.ndim != 3:
        raise NotPicturesError(
            f"a watch draws the maps of images (H, W), and these have the shape {maps.values.shape[1:]}: for "
            f"signals and volumes, call {method} in the loop now and then and save its result, which is drawn"
        )


def _kept(model: Model, images: Any) -> torch.Tensor | dict[str, torch.Tensor] | ImageSet:
    """The images in memory, so that they stay the same, and at hand, throughout the training."""
    if model.several is not None and are_tensors(images):
        inputs = {name: value.detach().clone() for name, value in model.several.named(images).items()}
        _check_count(max(map(len, inputs.values())))
        return inputs
    found = images.detach().clone() if isinstance(images, torch.Tensor) else load_images(images)
    if getattr(found, "ndim", 1):  # a tensor without images is refused by the method
        _check_count(len(found))
    if isinstance(found, torch.Tensor):
        return found
    pixels = zip(found.sources, found, strict=True)
    return found.of([ImageSource(source.name, image, source.label) for source, image in pixels])


def _check_count(n_images: int) -> None:
    if n_images > N_IMAGES:
        raise ParameterError(f"images: {n_images}; at most {N_IMAGES} are watched")
