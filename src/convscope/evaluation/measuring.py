"""All measures of all maps of one image after another: what `evaluate` does with the network."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import torch

from ..attribution.method_run import Run
from ..attribution.scored import ScoredImage
from ..errors import ParameterError, TargetError
from ..perturbation import baseline_of, curves, n_variants, ranks
from ..results import CONTROLS, Array, Attribution
from .controls import control_maps
from .measures import curve_baselines, curve_names, localization, pointing, sparseness
from .road import SHARES, road_score, road_variants
from .sensitivity import max_sensitivity

Maps: TypeAlias = "Attribution | Array"


class Measuring:
    """Measures one image after another, and keeps what was found."""

    def __init__(
        self,
        run: Run,
        given: Mapping[str, Maps],
        maps: Mapping[str, Array],
        wanted: tuple[str, ...],
        masks: Array | None,
        steps: int,
        seed: int,
    ) -> None:
        self._run, self._given, self._maps, self.wanted = run, given, maps, wanted
        self._masks, self._steps, self._seed = masks, steps, seed
        over = curve_baselines(wanted)
        self._fills = [
            baseline_of(run.model, name, preprocessed=run.inputs.preprocessed, seed=seed) for name in over
        ]
        self.curve_names = curve_names(over)
        self._has_curves = any(name in self.curve_names for name in wanted)
        n = len(maps) + len(CONTROLS)
        run.steps.each = (n_variants(n, len(over), steps) if self._has_curves else 0) + (
            2 * len(SHARES) * n if "road" in wanted else 0
        )
        self.values: list[Array] = []
        self.names: list[str] = []
        self.targets: list[str] = []
        self.notes: list[str] = []
        self._curves: list[Array] = []

    def measure(self, image: ScoredImage) -> None:
        """All measures of all maps of one image."""
        i = len(self.values)
        self._check(image, i)
        self.names.append(image.name)
        self.targets += image.targets.names
        size = image.x.shape[1:]
        # Arrays may have a map of each image that was given, also of those that cannot be read.
        at, n_given = image.position, len(self._run.inputs)
        maps = [values[at if len(values) == n_given else i] for values in self._maps.values()]
        maps += control_maps(size, self._seed + image.position)
        orders = [ranks(values, self._seed) for values in maps]
        found = {name: np.full(len(maps), math.nan) for name in self.wanted}
        if self._has_curves:
            found.update({k: v for k, v in self._along(image, orders).items() if k in found})
        if "road" in found:
            found["road"] = self._road(image, orders)
        if "sparseness" in found:
            found["sparseness"] = np.array([sparseness(values) for values in maps])
        if "completeness_error" in found:
            found["completeness_error"][: len(self._given)] = [
                self._completeness(m, i) for m in self._given.values()
            ]
        if "max_sensitivity" in found:
            found["max_sensitivity"][: len(self._given)] = [
                self._sensitivity(m, image, i) for m in self._given.values()
            ]
        if self._masks is not None:
            region = self._masks[image.position]
            for name, measured in (("pointing", pointing), ("localization", localization)):
                if name in found:
                    found[name] = np.array([measured(values, region) for values in maps])
        self.values.append(np.stack([found[name] for name in self.wanted], axis=1))

    def all_curves(self) -> Array:
        """(M, C, N, S) of the N images that are done; S is 0 where no curve was asked for."""
        n_maps, n_done = len(self._maps) + len(CONTROLS), len(self.values)
        if not self._curves:
            return np.zeros((n_maps, len(self.curve_names), n_done, 0), np.float32)
        return np.stack(self._curves[:n_done], axis=2).astype(np.float32)

    def _check(self, image: ScoredImage, i: int) -> None:
        """That there is a map of this image from each method, and that it is of the target."""
        (name,) = image.targets.names
        for method, given in self._given.items():
            if i >= len(self._maps[method]):
                raise ParameterError(f"{method}: {i} maps, and more images than that")
            if isinstance(given, Attribution) and given.targets[i] != name:
                raise TargetError(
                    f"{method} explains {given.targets[i]!r} of {given.names[i]}, and the target is {name!r}; "
                    "give the same target="
                )

    def _along(self, image: ScoredImage, orders: list[Array]) -> dict[str, Array]:
        """The areas under the curves, which are kept."""
        x = image.x
        found = curves(x, [fill(x) for fill in self._fills], orders, self._steps, image.score_variants)
        if self._run.score == "probability" and np.ptp(found.deletion) == 0:
            self._note("the probability is the same whatever is hidden, as of a single class: take score='logit'")
        if not (np.isfinite(found.deletion).all() and np.isfinite(found.insertion).all()):
            self._note("the network's score of an image with parts removed is NaN or infinite")
        lines = np.concatenate([found.deletion[..., 0], found.insertion[..., 0]], axis=1)  # (R, C, K + 1)
        self._curves.append(lines)
        areas = np.concatenate(found.areas(), axis=1)[..., 0]
        return dict(zip(self.curve_names, areas.T, strict=True))

    def _road(self, image: ScoredImage, orders: list[Array]) -> Array:
        """Of each ranking; its images are made when it is their turn."""
        each = 2 * len(SHARES)

        @functools.lru_cache(2)  # a batch may hold the last of one ranking and the first of the next
        def variants_of(ranking: int) -> list[torch.Tensor]:
            return road_variants(image.x, orders[ranking], self._seed)

        def variants(first: int, end: int) -> torch.Tensor:
            return torch.stack([variants_of(n // each)[n % each] for n in range(first, end)])

        scores = image.score_variants(each * len(orders), variants)[:, 0].numpy()
        return np.array([road_score(of_one) for of_one in scores.reshape(len(orders), each)])

    def _completeness(self, given: Maps, i: int) -> float:
        errors = given.provenance.measured.get("completeness_error") if isinstance(given, Attribution) else None
        return float(errors[i]) if errors else math.nan

    def _sensitivity(self, given: Maps, image: ScoredImage, i: int) -> float:
        if not isinstance(given, Attribution):
            return math.nan
        found = max_sensitivity(self._run, given, i, image, self._seed)
        if found is None:
            self._note(f"{given.provenance.method}: max_sensitivity needs all options of the method, as names")
        return math.nan if found is None else found

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
