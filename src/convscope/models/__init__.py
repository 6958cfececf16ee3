"""Models: a network, its preprocessing, its labels, its layers, and how it is run."""

from .batching import free_memory, in_batches
from .catalog import DEFAULT_MODEL, best_device, load_model
from .execution import check_differentiable, differentiable, evaluating, run_to
from .folding import folded_batch_norm, scale_and_shift
from .inputs import Batch, Inputs, check_tensor, opened
from .layers import Layer, Structure, as_maps
from .model import Model, Progress, as_model, weights_digest
from .preprocessing import Preprocessing, gaussian_blur
from .targets import Score, Target, Targets, check_output, describe, find_class, resolve

__all__ = [
    "DEFAULT_MODEL",
    "Batch",
    "Inputs",
    "Layer",
    "Model",
    "Preprocessing",
    "Progress",
    "Score",
    "Structure",
    "Target",
    "Targets",
    "as_maps",
    "as_model",
    "best_device",
    "check_differentiable",
    "check_output",
    "check_tensor",
    "describe",
    "differentiable",
    "evaluating",
    "find_class",
    "folded_batch_norm",
    "free_memory",
    "gaussian_blur",
    "in_batches",
    "load_model",
    "opened",
    "resolve",
    "run_to",
    "scale_and_shift",
    "weights_digest",
]
