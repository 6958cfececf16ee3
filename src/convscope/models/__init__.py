"""Models: a network with its preprocessing, its labels and its layers, and where it comes from."""

from .catalog import DEFAULT_MODEL, load_model
from .inputs import Batch, Inputs, check_tensor, opened
from .layers import NO_LAYERS, Layer, Structure, as_maps, of_last_kind
from .model import Model, as_model
from .preprocessing import Preprocessing, blurred, gaussian_blur
from .similarity import network_and_target
from .tokens import lie_in_place

__all__ = [
    "DEFAULT_MODEL",
    "NO_LAYERS",
    "Batch",
    "Inputs",
    "Layer",
    "Model",
    "Preprocessing",
    "Structure",
    "as_maps",
    "as_model",
    "blurred",
    "check_tensor",
    "gaussian_blur",
    "lie_in_place",
    "load_model",
    "network_and_target",
    "of_last_kind",
    "opened",
]
