"""`load_model("hf:FOLDER")`: a network of transformers from a local folder.

No code from the folder is run, nothing is downloaded, and no file outside of the folder is read: the files are
read here, and transformers is given what was in them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ConvscopeError, ModelError
from ..execution.running import evaluating
from .closed_folder import ClosedFolder
from .configured_sizes import refuse_large_network, refuse_large_numbers
from .image_processors import preprocessing_of, processor_from
from .model import Model
from .preprocessing import Preprocessing
from .stated import settled

# The image tower of networks for images and texts: its class, and its part of the configuration.
_TOWERS = {
    "CLIPModel": "CLIPVisionModelWithProjection",
    "SiglipModel": "SiglipVisionModel",
    "Siglip2Model": "Siglip2VisionModel",
}
# A configuration may choose how it is run, and from where: kernels and fused layers may be downloaded code.
_OURS_TO_CHOOSE = (
    *("attn_implementation", "experts_implementation", "fusion_config", "distributed_config", "auto_map"),
    *("torchscript", "return_dict", "output_attentions", "output_hidden_states", "name_or_path"),
)
# The vector that a network without a classifier gives for an image, by its name in the output.
_VECTORS = ("image_embeds", "pooler_output")


def from_folder(
    folder: str | Path,
    *,
    input_size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Model:
    """A network from a folder that transformers has saved, with its preprocessing and labels, in float32.

    Args:
        folder: with config.json, model.safetensors (or its parts and their index), and preprocessor_config.json.
        input_size, mean, std: in place of the folder's own; all three if it has none that can be followed.

    Raises:
        ModelError: files are missing, lie outside of the folder, or do not fit; transformers does not have this
            network, or is not installed.
    """
    transformers = _transformers()
    files = ClosedFolder(Path(folder))
    stated = files.json("config.json")
    if stated is None:
        raise ModelError(
            f"{folder}: has no config.json; give a folder that save_pretrained of transformers has made"
        )
    source = str(files.root / "config.json")
    _refuse_what_is_elsewhere(stated, source)
    kind, stated, notes = _kind_of(transformers, stated, source)
    name, tensors = f"hf:{files.root.resolve().name}", files.tensors()
    refuse_large_numbers(stated, tensors, source)
    with _quiet_and_offline(transformers):
        try:
            config = kind.config_class.from_dict(_cleaned(stated))
        except Exception as error:
            raise ModelError(f"{source}: not the configuration of a {kind.__name__} ({error})") from error
        try:
            own = _preprocessing(files, str(stated.get("model_type")))
        except ModelError as error:
            own, notes = None, (*notes, f"prepared as given: {error}")
            if None in (input_size, mean, std):
                raise
        preprocessing, replaced = settled(name, own, input_size, mean, std)
        assert preprocessing is not None  # as its own is known, or else all is given
        network, more = _with_weights(kind, config, tensors, str(files.root))
        model = _model(network, config, preprocessing, name)
    model.notes = (*notes, *replaced, *more, *model.notes)
    return model


def _transformers() -> Any:
    try:
        import transformers
    except ModuleNotFoundError:
        raise ModelError("'hf:FOLDER' needs transformers: pip install 'convscope[hf]'") from None
    return transformers


def _refuse_what_is_elsewhere(stated: Mapping[str, Any], source: str) -> None:
    """`ModelError` for a network that is not in the folder as a whole, or not in plain numbers."""
    for key, value in _entries(stated):
        if key == "quantization_config" and value:
            raise ModelError(f"{source}: the weights are quantized; save the network in float32 or bfloat16")
        is_of_timm = key in ("use_timm_backbone", "model_type") and str(value).startswith(("True", "timm"))
        if is_of_timm or (key == "backbone" and value):
            raise ModelError(
                f"{source}: takes a network from elsewhere ({key}: {value!r}), and nothing outside of the folder "
                "is read; for a network of timm, load_model('timm:NAME', weights=PATH)"
            )


def _entries(stated: Any) -> Iterator[tuple[str, Any]]:
    """All keys of nested objects, with their values."""
    if isinstance(stated, Mapping):
        for key, value in stated.items():
            yield key, value
            yield from _entries(value)


def _cleaned(stated: Any) -> Any:
    """A configuration without what is not the file's to choose."""
    if not isinstance(stated, Mapping):
        return stated
    kept = {key: value for key, value in stated.items() if not key.strip("_").startswith(_OURS_TO_CHOOSE)}
    return {key: _cleaned(value) for key, value in kept.items()}


def _kind_of(
    transformers: Any, stated: dict[str, Any], source: str
) -> tuple[type[Any], dict[str, Any], tuple[str, ...]]:
    """The class of the network, its part of the configuration, and what to note."""
    names = stated.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise ModelError(f"{source}: names no architecture ('architectures': [NAME])")
    name = names[0]
    tower = _TOWERS.get(name)
    kind = getattr(transformers, tower or name, None)
    if not isinstance(kind, type) or not issubclass(kind, transformers.PreTrainedModel):
        code = " Its own code (auto_map) is never run." if "auto_map" in stated else ""
        raise ModelError(
            f"{source}: transformers {transformers.__version__} has no network {name!r}.{code} Make the network "
            "yourself and pass Model(network, output=...)"
        )
    if tower is None:
        return kind, stated, ()
    vision = stated.get("vision_config", {})
    if not isinstance(vision, Mapping):
        raise ModelError(f"{source}: vision_config is a {type(vision).__name__}; expected an object")
    shared = {key: stated[key] for key in ("projection_dim",) if key in stated}  # which the whole network goes by
    part = {**vision, **shared}
    return kind, part, (f"the image tower of {name}, {tower}",)


def _preprocessing(files: ClosedFolder, model_type: str) -> Preprocessing:
    for name, key in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        found = files.json(name)
        settings = found if found is None or key is None else found.get(key)
        if isinstance(settings, dict):
            source = str(files.root / name)
            try:
                return preprocessing_of(processor_from(settings, model_type, source), source)
            except ConvscopeError:
                raise
            except Exception as error:  # values of types that transformers does not check
                raise ModelError(
                    f"{source}: cannot be followed ({error}); give input_size, mean and std"
                ) from error
    raise ModelError(f"{files.root}: has no preprocessor_config.json; give input_size, mean and std")


def _with_weights(
    kind: type[Any], config: Any, tensors: dict[str, torch.Tensor], source: str
) -> tuple[nn.Module, tuple[str, ...]]:
    """The network with all its weights, and a note on those that have no place in it."""
    options = {
        "config": config,
        "state_dict": tensors,
        "dtype": torch.float32,
        "attn_implementation": "sdpa" if kind._supports_sdpa else "eager",
        "ignore_mismatched_sizes": True,  # they are refused below, by their names
        "output_loading_info": True,
    }
    try:
        refuse_large_network(kind, config, tensors, source)
        network, loading = kind.from_pretrained(None, **options)
        missing = set(loading["missing_keys"])
        takes_pooler = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
        if missing and takes_pooler and all(name.startswith("pooler.") for name in missing):
            network, loading = kind.from_pretrained(None, add_pooling_layer=False, **options)
            missing = set(loading["missing_keys"])
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{source}: the weights do not fit a {kind.__name__} ({error})") from error
    if loading["mismatched_keys"]:
        name, given, expected = sorted(loading["mismatched_keys"])[0]
        raise ModelError(
            f"{source}: {name} has the shape {tuple(given)}; by config.json a {kind.__name__} expects "
            f"{tuple(expected)}"
        )
    if missing:
        raise ModelError(
            f"{source}: lacks {len(missing)} weights of a {kind.__name__}, which would be random: {_some(missing)}"
        )
    strange = [name for name, p in network.named_parameters() if not torch.isfinite(p).all()]
    if strange:
        raise ModelError(f"{source}: weights that are NaN or infinite: {_some(strange)}")
    unused = set(loading["unexpected_keys"])
    return network, (f"{len(unused)} weights of the file have no place in it: {_some(unused)}",) if unused else ()


def _some(names: Any) -> str:
    listed = sorted(names)
    return ", ".join(listed[:4]) + (", ..." if len(listed) > 4 else "")


def _model(network: nn.Module, config: Any, preprocessing: Preprocessing, name: str) -> Model:
    """The network with its class scores as output, or its feature vector if it has none."""
    x = torch.zeros(1, preprocessing.n_channels, *preprocessing.input_size, dtype=torch.float32, device="cpu")
    try:
        with evaluating(network):
            output = network(x)
    except Exception as error:
        raise ModelError(f"{name}: cannot be run on images {tuple(x.shape)} ({error})") from error
    if "logits" in output:
        n_classes = output["logits"].shape[1]
        return Model(
            network,
            labels=_labels(config, n_classes),
            preprocessing=preprocessing,
            multilabel=config.problem_type == "multi_label_classification",
            regression=config.problem_type == "regression",
            name=name,
            output="logits",
        )
    what, choose = _vector(network, output)
    model = Model(network, labels=(), preprocessing=preprocessing, name=name, output=choose)
    model.notes = (f"{type(network).__name__} has no classifier; its feature vector is {what}",)
    return model


def _labels(config: Any, n_classes: int) -> tuple[str, ...] | None:
    """The names of the classes, unless they are the numbers that transformers fills in."""
    names = {int(key): str(value) for key, value in (config.id2label or {}).items()}
    if set(names) != set(range(n_classes)) or all(names[i] == f"LABEL_{i}" for i in names):
        return None
    return tuple(names[i] for i in range(n_classes))


def _vector(network: nn.Module, output: Any) -> tuple[str, Callable[[Any], torch.Tensor]]:
    """Which vector a network gives for an image, and how to take it from the output."""
    name = next((name for name in _VECTORS if isinstance(output.get(name), torch.Tensor)), None)
    if name is not None:
        return name, lambda returned: returned[name].flatten(1)
    if not isinstance(output.get("last_hidden_state"), torch.Tensor):
        raise ModelError(
            f"{type(network).__name__} returns {', '.join(output)}: neither logits nor a vector for each image. "
            "Make the network yourself and pass Model(network, output=...)"
        )
    has_class_token = any(name.endswith("cls_token") for name, _ in network.named_parameters())
    if has_class_token and output["last_hidden_state"].ndim == 3:
        return "the class token of last_hidden_state", lambda returned: returned["last_hidden_state"][:, 0]

    def mean(returned: Any) -> torch.Tensor:
        hidden: torch.Tensor = returned["last_hidden_state"]
        return hidden.mean(dim=1) if hidden.ndim == 3 else hidden.flatten(2).mean(dim=2)

    return "the mean of last_hidden_state", mean


@contextmanager
def _quiet_and_offline(transformers: Any) -> Iterator[None]:
    """No progress bars, no reports of what this module reports itself, and no downloads."""
    from huggingface_hub import constants

    logging = transformers.utils.logging
    verbosity, shows_bars, is_offline = (
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        constants.HF_HUB_OFFLINE,
    )
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        constants.HF_HUB_OFFLINE = is_offline
        if shows_bars:
            logging.enable_progress_bar()
