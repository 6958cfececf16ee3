"""All measures of all maps, one image after another: what `evaluate` does with the network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..attribution.method_run import Run
from ..attribution.scored import ScoredImage
from ..errors import ParameterError, TargetError
from ..perturbation import Curves, baseline_of, n_variants
from ..results import CONTROLS, Array, Attribution
from ..texts import counted
from .controls import control_maps
from .maps_of_image import GivenMaps, MapsOfImage
from .measures import MEASURES, curve_baselines, curve_names


class Measuring:
    """Measures the maps of one image after another, and keeps what it finds.

    Args:
        run: the images and the target.
        given: the maps of each method, as they came in.
        maps: the same as arrays (N, H, W).
        wanted: names of measures.
        regions: (N, H, W), True where the target is, if that is known.
        n_steps: of the curves.
        seed: of the random map, of ties and of noise.
    """

    def __init__(
        self,
        run: Run,
        given: Mapping[str, GivenMaps],
        maps: Mapping[str, Array],
        wanted: tuple[str, ...],
        regions: Array | None,
        n_steps: int,
        seed: int,
    ) -> None:
        self._run, self._given, self._maps, self.wanted = run, given, maps, wanted
        self._regions, self._n_steps, self._seed = regions, n_steps, seed
        over = curve_baselines(wanted)
        preprocessed = run.inputs.preprocessed
        self._fills = {name: baseline_of(run.model, name, preprocessed=preprocessed, seed=seed) for name in over}
        self.curve_names = curve_names(over)
        self._has_curves = any(MEASURES[name].baseline for name in wanted)
        n_maps = len(maps) + len(CONTROLS)
        run.steps.each = (n_variants(n_maps, len(over), n_steps) if self._has_curves else 0) + n_maps * sum(
            MEASURES[name].n_scores for name in wanted
        )
        self.values: list[Array] = []
        self.names: list[str] = []
        self.targets: list[str] = []
        self.notes: list[str] = []
        self._curves: list[Array] = []

    def measure(self, image: ScoredImage) -> None:
        """Take all measures of all maps of one image."""
        maps = self._maps_of(image)
        self.names.append(image.name)
        self.targets += image.targets.names
        if self._has_curves:
            self._keep(maps.curves)
        self.values.append(np.stack([MEASURES[name].of(maps) for name in self.wanted], axis=1))

    def all_curves(self) -> Array:
        """(M, C, N, S) of the N images that are done; S is 0 if no curve was asked for."""
        n_maps, n_done = len(self._maps) + len(CONTROLS), len(self.values)
        if not self._curves:
            return np.zeros((n_maps, len(self.curve_names), n_done, 0), np.float32)
        return np.stack(self._curves[:n_done], axis=2).astype(np.float32)

    def _maps_of(self, image: ScoredImage) -> MapsOfImage:
        number = len(self.values)
        self._check(image, number)
        # Arrays may have a map for each image that was given, also for those that cannot be read.
        at, n_given = image.position, len(self._run.inputs)
        maps = [values[at if len(values) == n_given else number] for values in self._maps.values()]
        return MapsOfImage(
            image=image,
            target=self._run.target,
            given=list(self._given.values()),
            number=number,
            maps=[*maps, *control_maps(image.x.shape[1:], self._seed + at)],
            region=None if self._regions is None else self._regions[at],
            fills=self._fills,
            n_steps=self._n_steps,
            seed=self._seed,
            note=self._note,
        )

    def _check(self, image: ScoredImage, number: int) -> None:
        """Every method has a map of this image, and it is of the target."""
        (name,) = image.targets.names
        for method, given in self._given.items():
            if number >= len(self._maps[method]):
                raise ParameterError(f"{method}: {counted(number, 'map')}, and more images than that")
            if isinstance(given, Attribution) and given.targets[number] != name:
                raise TargetError(
                    f"{method} explains {given.targets[number]!r} of {given.names[number]}, and the target is "
                    f"{name!r}; give the same target="
                )

    def _keep(self, curves: Curves) -> None:
        if self._run.score == "probability" and np.ptp(curves.deletion) == 0:
            self._note("the probability is the same whatever is hidden, as of a single class: take score='logit'")
        if not (np.isfinite(curves.deletion).all() and np.isfinite(curves.insertion).all()):
            self._note("the network's score of an image with parts removed is NaN or infinite")
        self._curves.append(np.concatenate([curves.deletion[..., 0], curves.insertion[..., 0]], axis=1))

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
