"""`load_model`: networks by name, with their preprocessing and labels."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from ..arguments import checks_arguments
from ..checks import Pair, Sides, as_pair
from ..errors import ModelError
from ..execution.interrupts import orderly_interrupts
from ..execution.running import move
from ..user_code import is_there, place_of
from .architectures import DEFAULT_MODEL, PACKAGED, packaged, timm_network, torchvision_network
from .bare_modules import as_model
from .checkpoints import read_module
from .file_kinds import kind_of
from .huggingface import from_folder
from .importing import from_code
from .layers import sides_of
from .model import Model
from .predicting import check_meaning
from .stated import Stated, settled

# The command line reads both from this source, before torch is imported.
SUFFIXES = (".pt", ".pth", ".safetensors", ".onnx", ".pt2", ".ts")
OTHER_NAMES = "'torchvision:NAME', 'timm:NAME', 'hf:FOLDER', 'module:build', or a file"


@checks_arguments
def load_model(
    name: str | Path = DEFAULT_MODEL,
    *,
    pretrained: bool = True,
    weights: str | Path | None = None,
    input_size: int | Sides | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    labels: Sequence[str] | None = None,
    multilabel: bool | None = None,
    regression: bool | None = None,
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
            network does not state them or its own do not apply; a note says which were replaced. input_size as
            in `Model`.
        labels: class names in order, if the network's own do not apply.
        multilabel: whether an image may show several classes, see `Model`, if the network does not say so itself.
        regression: whether its outputs are values, not class scores, see `Model`, likewise.
        output: which entry of what the network returns holds the class scores, such as "logits".
        device: "cuda", "mps" or "cpu"; by default the first of these that is available.
        trust_pickle: allow a file to run code: a pickled model always does, TorchScript and an exported program
            may where they ask for more than the operations of PyTorch that only compute.

    Raises:
        ModelError: the name is unknown, code of your own failed or made no network, or the weights do not fit,
            are not finite, or cannot be downloaded.
        ParameterError: an argument has the wrong type, or mean or std is given without what else is not stated.

    Example:
        >>> load_model("torchvision:resnet18", pretrained=False, device="cpu")
        Model(torchvision:resnet18 (random weights), 224x224, 1000 labels, cpu)
    """
    check_meaning(multilabel, regression)
    source, _, architecture = str(name).partition(":")
    stated: Stated | None = None
    # Outside inference mode, so that gradients can pass through the weights later; seeded in a fork of the random
    # state, so that random weights are always the same and the caller's state is unchanged.
    with orderly_interrupts(), torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if str(name) in PACKAGED:
            model = packaged(str(name), weights, pretrained)
        elif source in ("torchvision", "timm") and architecture:
            build = torchvision_network if source == "torchvision" else timm_network
            model = build(architecture, weights, pretrained)
        elif source == "hf" and architecture:
            if weights is not None or not pretrained:
                raise ModelError(f"{name}: a folder has its own weights")
            model = from_folder(architecture, input_size=_pair(input_size), mean=mean, std=std)
        elif (place := place_of(str(name))) is not None and is_there(place):
            model = from_code(place, weights)
        elif isinstance(name, Path) or Path(name).suffix in SUFFIXES or os.path.isfile(name):
            if weights is not None:
                raise ModelError(
                    f"weights={str(weights)!r}: {name} has its own weights; to load others, name an architecture"
                )
            model, stated = _from_file(Path(name), _pair(input_size), trust_pickle)
        else:
            raise ModelError(_unknown(str(name)))
    size = None if input_size is None else sides_of(model.module, input_size)
    model.preprocessing, notes = settled(model.name, model.preprocessing or stated, size, mean, std)
    model.known_size = size or (stated.input_size if stated else model.known_size)
    model.notes += notes
    if labels is not None:
        model.labels = tuple(labels)
    if multilabel is not None or regression is not None:
        model.multilabel = bool(model.multilabel and not regression if multilabel is None else multilabel)
        model.regression = bool(model.regression and not multilabel if regression is None else regression)
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


def _pair(input_size: int | Sides | None) -> Pair | None:
    """A size where only pictures can be meant."""
    return None if input_size is None else as_pair(input_size, "input_size")


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
    return f"no network {name!r}{hint}: give {DEFAULT_MODEL!r}, {OTHER_NAMES}"
