"""Valid arguments for public functions: a tiny network, a store, a result of each kind."""

from __future__ import annotations

import inspect
import shutil
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from tests.conftest import tiny_network, tiny_transformer
from tests.render import results

import convscope
from convscope import EmbeddingStore, Model, Preprocessing, Watch, concept_vector, embed, project
from convscope.images import ImageSource
from convscope.render import figure
from convscope.store.schema import Origin
from convscope.tables import csv_text

if TYPE_CHECKING:
    from tests.contracts.arguments import Place

# In place of defaults that take long.
QUICK: dict[str, Any] = {
    "steps": 2,
    "n_samples": 4,
    "n_masks": 4,
    "n_steps": 2,
    "cells": 2,
    "n_variants": 1,
    "windows": [4],
    "shapes": ["rectangle"],
    "baselines": ["mean"],
    "n_stages": 1,
    "size_px": 8,
    "device": "cpu",
    "measures": ["sparseness"],
    "methods": ["saliency"],
    "n_concepts": 2,
    "n_designs": 2,
    "n_random": 2,
}


class Bench:
    """A tiny network, a store and a result of each kind, from which valid arguments are taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.photos = folder / "photos"
        rng = np.random.default_rng(0)
        for n in range(12):
            place = self.photos / "ab"[n % 2] / f"{n}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(place)
        self.x = torch.rand(1, 3, 16, 16)
        project(embed(self.model(), self.photos, store=folder / "first.lance"))
        self.embeddings = embed(self.model(), self.photos)
        self.results = {type(found): found for found in results.every_kind()}
        self.results[convscope.FeatureMaps] = results.feature_maps()
        self.results[convscope.ChannelRelevance] = results.channel_relevance()
        self.results[convscope.ConceptVector] = self._concept_vector()
        self.results[convscope.Summary] = self.model().summary()
        self.saved = results.filters().save(folder / "saved")
        self._n = 0
        self._stores: dict[str, EmbeddingStore] = {}

    def model(self, name: str = "") -> Model:
        network = tiny_transformer() if name.startswith("attention_") else tiny_network()
        return Model(network, input_size=(16, 16), mean=[0.5] * 3, std=[0.25] * 3, labels=["a", "b", "c"])

    def _concept_vector(self) -> convscope.ConceptVector:
        examples = torch.rand(3, 3, 16, 16)
        return concept_vector(self.model(), examples + 1, examples, layer="4", n_random=2)

    def watch(self) -> Watch:
        return Watch(self.model(), self.x, self.new())

    def store(self, name: str) -> EmbeddingStore:
        """A copy of the first one for each function, and a new one where it was written to."""
        if name not in self._stores or len(self._stores[name]) != 12:
            place = self.new(".lance")
            shutil.copytree(self.folder / "first.lance", place)
            self._stores[name] = EmbeddingStore.open(place)
        return self._stores[name]

    def new(self, suffix: str = "") -> Path:
        """A place where nothing is."""
        self._n += 1
        return self.folder / f"new-{self._n}{suffix}"

    def call(self, place: Place, value: Any) -> Any:
        """The function with this value of the parameter; a generator is begun."""
        positional, keywords = [], {}
        owner = place.owner
        if place.name.startswith("draw_"):
            return self.results[owner].plot(Figure().subplots(), **{place.parameter.name: value})
        if place.name.startswith("compose_"):
            return figure(self.results[owner], **{place.parameter.name: value})
        if owner is not None and place.function is not owner.__init__:
            static = inspect.getattr_static(owner, place.name.rpartition(".")[2])
            bound = owner if isinstance(static, classmethod) else self._instance(owner, place.name)
            function = static.__get__(bound, owner)
        else:
            function = owner or place.function
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name == place.parameter.name:
                given = value
            elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
                given = self._valid(parameter.name, place.name)
            elif place.name == "load_model" and parameter.name in ("name", "pretrained"):
                if place.parameter.name == "pretrained":  # which would be downloaded
                    continue
                given = {"name": "torchvision:squeezenet1_1", "pretrained": False}[parameter.name]
            elif place.name == "report" and parameter.name == "images":  # which it can do without
                given = self._valid("images", place.name)
            elif parameter.name in QUICK and place.name != "report":
                given = QUICK[parameter.name]
            else:
                continue
            if parameter.kind is parameter.KEYWORD_ONLY:
                keywords[parameter.name] = given
            else:
                positional.append((parameter.name, given))
        named = [name for name, _ in positional]
        if named != [*inspect.signature(function).parameters][: len(named)]:
            keywords |= dict(positional)
            positional = []
        found = function(*(given for _, given in positional), **keywords)
        return next(found, None) if isinstance(found, types.GeneratorType) else found

    def _instance(self, owner: type, name: str) -> Any:
        if owner is Model:
            return self.model()
        if owner is EmbeddingStore:
            return self.store(name)
        if owner is convscope.Embeddings:
            return self.embeddings
        if owner is convscope.ImageSet:
            return convscope.load_images(self.photos)
        if owner is Preprocessing:
            return self.model().preprocessing
        if owner is convscope.Region:
            return convscope.Region(0)
        if owner is convscope.Watch:
            return self.watch()
        if owner is convscope.Detection:
            return convscope.Detection((0, 0, 8, 8), 1)
        if owner is convscope.Towards:
            return convscope.Towards(3.2)
        if owner in (convscope.Objective, convscope.Recipe):
            return convscope.Recipe() if owner is convscope.Recipe else convscope.Objective(())
        return self.results[owner]

    def _table(self, name: str) -> Any:
        """The table of a store; or a CSV file with a decision on one of its images."""
        store = self.store(name)
        if name != "EmbeddingStore.decide_table":
            return store.table
        file = self.new(".csv")
        file.write_text(csv_text([("path", "decision"), (store.names[0], "keep")]))
        return file

    def _valid(self, parameter: str, name: str) -> Any:
        """For a parameter without a default."""
        makers: dict[str, Callable[[], Any]] = {
            "model": lambda: self.model(name),
            "module": tiny_network,
            "images": lambda: self.x,
            "positives": lambda: self.x.expand(3, -1, -1, -1) + torch.rand(3, 1, 1, 1),
            "negatives": lambda: torch.rand(3, 3, 16, 16),
            "image": lambda: self.x,
            "x": lambda: self.x,
            "attributions": lambda: {"mine": np.random.default_rng(0).random((1, 16, 16))},
            "target": lambda: 0,
            "against": lambda: 1,
            "index": lambda: 0,
            "channel": lambda: 0,
            "column": lambda: "stamp",
            "notes": lambda: ["a note"],
            "box": lambda: (0, 0, 8, 8),
            "output": lambda: self._output(name),
            "found": self._suspects,
            "source": lambda: self.photos if name == "load_images" else self.embeddings,
            "sources": lambda: [ImageSource("image", np.zeros((4, 4, 3), np.uint8))],
            "store": lambda: self.store(name),
            "embeddings": lambda: self.embeddings,
            "directory": lambda: self.saved if name.endswith(".load") else self.new(),
            "place": lambda: self._place(name),
            "origin": lambda: Origin({"name": "an encoder"}, "", "float32"),
            "n_dims": lambda: 4,
            "vectors": lambda: np.random.default_rng(0).random((3, 6), np.float32),
            "query": lambda: self.embeddings.names[0],
            "where": lambda: "label = 'a'",
            "condition": lambda: "label = 'a'",
            "decision": lambda: "keep",
            "columns": lambda: ["path"],
            "row_ids": lambda: np.array([0]),
            "rows": lambda: np.array([0]) if name.endswith(("take", "_of")) else self.store(name).to_arrow(),
            "names": lambda: ["image 0"],
            "labels": lambda: {self.store(name).names[0]: "a"},
            "made": lambda: self.embeddings.made,
            "about": lambda: {"a": 1},
            "database": lambda: self.store(name)._database,
            "table": lambda: self._table(name),
            "distance": lambda: "cosine",
            "n_probes": lambda: 1,
            "k": lambda: 2,
            "make": lambda: lambda: 1,
            "layer": lambda: "conv" if name.startswith(("FeatureMaps", "UnitScan")) else "4",
            "kind": lambda: "insertion",
            "method": lambda: "lime",
            "measure": lambda: "sparseness",
            "s": lambda: 0,
            "inputs": lambda: self.model().inputs(self.x),
            "shape": lambda: (3, 16, 16),
            "n_classes": lambda: 3,
            "parameters": dict,
            "started": lambda: 0.0,
            "input_size": lambda: (8, 8),
            "resize_px": lambda: (8, 8),
            "mean": lambda: (0.5,),
            "std": lambda: (0.5,),
            "pixels": lambda: np.zeros((20, 20, 3), np.uint8),
            "cuts": lambda: [np.zeros((16, 16, 3), np.uint8)],
            "targets": lambda: 0,
            "value": lambda: 3.2,
            "values": lambda: torch.zeros(2, 1),
            "output_dir": self.new,
            "step": lambda: 3,
            "watch": self.watch,
            "point": lambda: (1, 1),
            "scan": lambda: convscope.scan(self.model(name), self.x, layers=["4"]),
            "label": lambda: "label 0",
            "a": lambda: "label 0",
            "b": lambda: "label 1",
            "position": lambda: (0, 0),
            "path": lambda: self.new(".gif"),
            "name": lambda: "image",
            "network": tiny_network,
            "dictionary": lambda: torch.rand(6, 3),
            "terms": tuple,
            "progress": lambda: 0.5,
        }
        if name == "compare_stores" and parameter in ("a", "b"):
            return self.embeddings
        if parameter not in makers:
            raise AssertionError(f"{name}: write a valid {parameter} into {__file__}")
        return makers[parameter]()

    def _suspects(self) -> convscope.Suspects:
        return replace(found := convscope.suspects(self.embeddings), suggested=("c",) * len(found))

    def _output(self, name: str) -> Any:
        if name in ("report", "export"):
            return self.new(".html" if name == "report" else ".csv")
        if name == "Region.bound":
            return torch.rand(1, 3, 16, 16)
        return [{"boxes": torch.tensor([[0.0, 0, 8, 8]]), "labels": torch.tensor([0]), "scores": torch.ones(1)}]

    def _place(self, name: str) -> Path:
        opens = name in ("EmbeddingStore.open", "EmbeddingStore")
        return Path(self.store(name).place) if opens else self.new(".lance")
